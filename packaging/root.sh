#!/usr/bin/env bash
# Debian 11 (glibc 2.31) in a directory, as root; nothing is done where it is there already.
#
#   packaging/root.sh bare DIRECTORY          what debootstrap calls minbase: no Python in it
#   packaging/root.sh tools DIRECTORY BARE    a copy of it with a C compiler, OpenSSL and Python built in it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin"

MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
SECURITY="${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}"

what="$1" directory="$2"
[ -d "$directory" ] && exit 0
part="$directory.part"
rm -rf --one-file-system "$part"

case "$what" in
bare)
    echo "debootstrap bullseye"
    debootstrap --variant=minbase bullseye "$part" "$MIRROR" >"$directory.log" 2>&1 || { tail -n 5 "$directory.log" >&2; exit 1; }
    rm -rf "$part"/var/cache/apt/archives/*.deb "$part"/var/lib/apt/lists/*
    ;;
tools)
    echo "OpenSSL and Python in $directory (some minutes)"
    cp -a "$3" "$part"
    cp /etc/resolv.conf "$part/etc/resolv.conf"
    printf '%s\n' "deb $MIRROR bullseye main" "deb $SECURITY bullseye-security main" \
        "deb-src $MIRROR bookworm main" >"$part/etc/apt/sources.list"
    echo "deb-src $SECURITY bookworm-security main" >"$part/etc/apt/security.list"
    cp packaging/root_inside.sh "$part/opt/"
    chroot "$part" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/tmp ${http_proxy:+"http_proxy=$http_proxy"} \
        JOBS="$(nproc)" SOURCE_DATE_EPOCH=1577836800 /bin/bash /opt/root_inside.sh >"$directory.log" 2>&1 ||
        { tail -n 20 "$directory.log" >&2; exit 1; }
    ;;
esac
mv "$part" "$directory"
