#!/usr/bin/env bash
# For container tests without Docker and without an image registry, this script creates podman's
# settings, and a local image tagged python:3.13-slim, from Debian's packages and a Python 3.13 of
# this machine. Run it as root; further runs reuse the result in $CONTAINER_CACHE.
#
# The image is for tests only: never publish it, or any image built on it.
set -euo pipefail

CACHE=$(readlink -m "${CONTAINER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hetzner-dyndns/containers}")
BASE=docker.io/library/python:3.13-slim
mkdir -p "$CACHE"

# A separate store: the images and containers of this machine's user are not changed.
cat > "$CACHE/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$CACHE/store"
runroot = "$CACHE/run"
CONF
# runc and cgroupfs: they work without systemd, and inside another container.
cat > "$CACHE/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "$CACHE/networks"
CONF
export CONTAINERS_STORAGE_CONF="$CACHE/storage.conf" CONTAINERS_CONF="$CACHE/containers.conf"

if podman image exists "$BASE"; then
  echo "$BASE is there"
  exit 0
fi

# shellcheck disable=SC2012 # the names hold digits only
python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python 2>/dev/null | sort -V | tail -n 1 || true)
python=${python:-$(command -v python3.13)} || { echo "Python 3.13 is needed and not installed" >&2; exit 1; }
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016 # the placeholders are apt-get's
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' \
  | awk -v suite="$suite" '$2 == suite { print $1; exit }')

root=$CACHE/root
rm -rf "$root"
packages=ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8
packages=$packages,libsqlite3-0,libssl3,libuuid1,netbase,tzdata,zlib1g
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" > "$CACHE/debootstrap.log" 2>&1 \
  || { tail -n 5 "$CACHE/debootstrap.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}

cp -a "$prefix/bin/." "$root/usr/local/bin/"
cp -a "$prefix/lib/." "$root/usr/local/lib/"
rm -rf "$root"/usr/local/lib/python3.13/{test,idlelib,tkinter,config-*} "$root"/usr/local/lib/libpython*.a
ln -sf python3.13 "$root/usr/local/bin/python3"
ln -sf python3.13 "$root/usr/local/bin/python"
chroot "$root" ldconfig
# Like the official image: pip, and nothing else installed.
rm -rf "$root"/usr/local/lib/python3.13/site-packages/*
chroot "$root" /usr/local/bin/python3.13 -m ensurepip >> "$CACHE/debootstrap.log" 2>&1
printf '#!/bin/sh\nexec /usr/local/bin/python3.13 -m pip "$@"\n' > "$root/usr/local/bin/pip"
chmod +x "$root/usr/local/bin/pip"
find "$root/usr/local" -name __pycache__ -prune -exec rm -rf {} +

tar -C "$root" -cf "$CACHE/base.tar" .
rm -rf "$root"
podman import --quiet --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' "$CACHE/base.tar" "$BASE" > /dev/null
rm -f "$CACHE/base.tar"
echo "$BASE is made"
