#!/usr/bin/env bash
# get_ntfy.sh: print the folder of the real ntfy server, fetching it first if this machine has none.
# Debian has a package of it from release 13 (trixie) on, which runs on older releases as well: it is
# taken from the Debian mirror that this machine's apt uses, unpacked and not installed.
set -euo pipefail

# PyPI has another program of this name.
is_server() { [ -x "$1" ] && [[ $("$1" --help 2>/dev/null) == *"ntfy server"* ]]; }

installed=$(command -v ntfy || true)
if is_server "$installed"; then
  dirname "$installed"
  exit
fi
home=${XDG_CACHE_HOME:-$HOME/.cache}/hetzner-dyndns/ntfy
if is_server "$home/usr/bin/ntfy"; then
  echo "$home/usr/bin"
  exit
fi

key=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' \
  | awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')
[ -n "$mirror" ] || { echo "get_ntfy.sh: no Debian mirror in apt's sources; run apt-get update, or install ntfy" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/new" "$(dirname "$home")"
echo "deb [signed-by=$key] $mirror trixie main" >"$work/sources.list"
# A separate apt configuration: this machine's apt is not changed.
options=(
  -qq
  -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=-
  -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache"
  -o Acquire::Languages=none -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update >&2
(cd "$work" && apt-get "${options[@]}" download ntfy >&2)
dpkg-deb -x "$work"/ntfy_*.deb "$work/new"
is_server "$work/new/usr/bin/ntfy"
rm -rf "$home"
mv "$work/new" "$home"
echo "$home/usr/bin"
