#!/bin/sh
# A minimal Debian root by debootstrap, made once and kept: packaging/debian.sh SUITE [PACKAGE,PACKAGE…] prints its path.
# Whoever uses it works on a copy or an overlay: nothing may be changed in it. As root.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
suite=${1:?usage: packaging/debian.sh SUITE [PACKAGE,PACKAGE...]}
packages=${2:-}
cache=$(cd "$(dirname "$0")/.." && pwd)/build/cache
root=$cache/debian-$suite${packages:+-$(printf %s "$packages" | cksum | cut -d ' ' -f 1)}

mkdir -p "$cache"
exec 8>"$root.lock"
flock 8 # two that ask at once: one makes it, the other waits
if [ ! -e "$root" ]; then
    echo "debootstrap $suite" >&2
    rm -rf --one-file-system "$root.part"
    debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$root.part" \
        "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || {
        tail -n 5 "$root.log" >&2
        echo "debootstrap $suite failed: see $root.log" >&2
        exit 1
    }
    rm -rf "$root.part"/var/cache/apt/archives/*.deb "$root.part"/var/lib/apt/lists/*
    mv "$root.part" "$root"
fi
echo "$root"
