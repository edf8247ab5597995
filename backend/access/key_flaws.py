"""What is wrong with the key file, and how to mend it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Mapping, Tuple, Union

from backend.access.key_lines import BadText
from backend.errors import KeyFileUnusable

_FULL = "make room on its disk"
# What helps where it isn't the file's owner that is wrong.
MENDS = {
    errno.EROFS: "mount it writable, or write a line `<fqdn> <key>` for each host yourself",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
}
_MENDS_AFTER_START = {
    errno.ENOENT: "start the service once, and it makes one, or run this in the service's folder",
    **MENDS,
}


def unusable(
    path: Path,
    error: Union[OSError, BadText],
    mends: Mapping[int, str] = _MENDS_AFTER_START,
) -> KeyFileUnusable:
    """Return the error that a failure with the file means to the operator."""
    if isinstance(error, IsADirectoryError) or _is_folder(path, unknown=False):
        flaw = "it is a directory (Docker makes one when a mounted file is missing)"
        mend = "remove it, then `touch` the file, `chown 1000:1000` and `chmod 600` it"
    elif not _is_folder(path.parent, unknown=True):
        flaw, mend = f"the folder {path.parent} doesn't exist", "create it, or name another file"
    elif isinstance(error, BadText):
        flaw, mend = str(error), error.mend
    else:
        flaw, mend = _refusal(path, error, mends)
    return KeyFileUnusable(f"PRE_SHARED_KEY_FILE: can't use {path}: {flaw}", mend=f"{mend}.")


def _refusal(path: Path, error: OSError, mends: Mapping[int, str]) -> Tuple[str, str]:
    mend = mends.get(error.errno or 0, "") or (
        f"let this user (uid {os.getuid()}) read and write it, as in "
        f"`chown {os.getuid()} {path}`, or of the file that is mounted there"
    )
    return str(error.strerror), mend


def _is_folder(path: Path, *, unknown: bool) -> bool:
    """Whether a path is a folder; `unknown` where this user may not look."""
    try:
        return path.is_dir()
    except OSError:
        return unknown
