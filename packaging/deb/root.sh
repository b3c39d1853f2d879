#!/bin/sh
# A minimal Debian root, made once and kept: packaging/deb/root.sh SUITE [PACKAGE,PACKAGE…] prints its path.
# Only tests use it, and they work on copies or overlays: nothing may be changed in it. As root, with debootstrap.
set -eu
suite=${1:?usage: packaging/deb/root.sh SUITE [PACKAGE,PACKAGE...]}
packages=${2:-}
cache=$(cd "$(dirname "$0")/../.." && pwd)/build/cache
root=$cache/debian-$suite${packages:+-$(printf %s "$packages" | cksum | cut -d ' ' -f 1)}
mirror=${MIRROR:-http://deb.debian.org/debian}

mkdir -p "$cache"
exec 9>"$root.lock"
flock 9 # two that ask at once: one makes it, the other waits
if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
        tail -n 5 "$root.log" >&2
        echo "debootstrap $suite failed: see $root.log" >&2
        exit 1
    }
    rm -f "$root"/var/cache/apt/archives/*.deb
    touch "$root/.complete"
fi
echo "$root"
