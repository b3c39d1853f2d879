#!/usr/bin/env bash
# Debian 11 (glibc 2.31) with a C compiler, and OpenSSL and Python built in it: packaging/root.sh DIRECTORY, as root.
# Nothing is done where it is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin"

MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
SECURITY="${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}"

directory="$1"
[ -d "$directory" ] && exit 0
part="$directory.part"
rm -rf --one-file-system "$part"
bare="$(packaging/debian.sh bullseye)"

echo "OpenSSL and Python in $directory (some minutes)"
cp -a "$bare" "$part"
cp /etc/resolv.conf "$part/etc/resolv.conf"
printf '%s\n' "deb $MIRROR bullseye main" "deb $SECURITY bullseye-security main" \
    "deb-src $MIRROR bookworm main" >"$part/etc/apt/sources.list"
echo "deb-src $SECURITY bookworm-security main" >"$part/etc/apt/security.list"
cp packaging/root_inside.sh packaging/profile_task.py "$part/opt/"
chroot "$part" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/tmp ${http_proxy:+"http_proxy=$http_proxy"} \
    JOBS="$(nproc)" SOURCE_DATE_EPOCH=1577836800 /bin/bash /opt/root_inside.sh >"$directory.log" 2>&1 ||
    { tail -n 20 "$directory.log" >&2; exit 1; }
mv "$part" "$directory"
