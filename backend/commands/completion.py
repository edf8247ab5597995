"""Prints a script that lets the shell complete commands, options, devices and hosts.

bash: `eval "$(python -m backend completion bash)"`; zsh: the same with `completion zsh`. In
`~/.bashrc` or `~/.zshrc`, name the Python of the service's .venv.
"""

from __future__ import annotations

import argparse
import string
from typing import Iterable, Iterator, List, Tuple

from backend import cli

# bash finds this for `.venv/bin/python`, too. What isn't ours is completed as file names.
_SCRIPT = string.Template(
    """\
_hetzner_dyndns() {
    local word="$${COMP_WORDS[COMP_CWORD]}" before="$${COMP_WORDS[*]:0:$$COMP_CWORD}" offered="" one
    COMPREPLY=()
    case "$$before " in
        *" -m backend "*) before="$${before#* -m backend}" ;;
        *) return ;;
    esac
    local hosts="$${REGISTERED_FQDNS//,/ }"
    case "$$before" in
$cases
    esac
    for one in $$offered; do
        if [[ "$$one" == "$$word"* ]]; then COMPREPLY+=("$$one"); fi
    done
}
complete -o default -o bashdefault -F _hetzner_dyndns python python3
"""
)
_BEGINNINGS = {
    "bash": "",
    "zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"
    "autoload -Uz bashcompinit && bashcompinit\n",
}
# Positional arguments that are a host's name.
_HOSTS = ("host", "other")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the shell."""
    parser.add_argument("shell", choices=list(_BEGINNINGS))


def run(arguments: argparse.Namespace, _environ: object) -> int:
    """Print the script."""
    cases = "\n".join(f'        {pattern}) offered="{words}" ;;' for pattern, words in _cases())
    print(_BEGINNINGS[arguments.shell] + _SCRIPT.substitute(cases=cases), end="")
    return 0


def _cases() -> Iterator[Tuple[str, str]]:
    """What may come next, by what stands before it; the first pattern that fits counts."""
    serve = cli.parser_of("serve")
    for name in cli.COMMANDS:
        yield from _below(f" {name}", cli.parser_of(name))
    yield '""', " ".join([*cli.COMMANDS, *_options(serve)])


def _below(typed: str, parser: argparse.ArgumentParser) -> Iterator[Tuple[str, str]]:
    words: List[str] = _options(parser)
    for action in _actions(parser):
        choices = [str(choice) for choice in action.choices or ()]
        if isinstance(action.choices, dict):  # tasks, each with a parser of its own
            for task, below in action.choices.items():
                yield from _below(f"{typed} {task}", below)
        if action.option_strings and choices:
            yield f'"{typed}"*" {action.option_strings[-1]}"', " ".join(choices)
        elif not action.option_strings:
            words = [*choices, *(["$hosts"] if action.dest in _HOSTS else []), *words]
    yield f'"{typed}"|"{typed} "*', " ".join(dict.fromkeys(words))


def _options(parser: argparse.ArgumentParser) -> List[str]:
    return [action.option_strings[-1] for action in _actions(parser) if action.option_strings]


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse tells nobody else what it takes
