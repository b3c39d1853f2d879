#!/usr/bin/env bash
# Builds build/dist/tunrouter, one file, and SHA256SUMS beside it; prints the glibc it needs. README.md has the how and why.
#
#   packaging/binary.sh          as root: in a Debian 11 root, for every Linux since 2020
#   packaging/binary.sh --here   with the Python of .venv: quick, for machines no older than this one
#
# Everything is made under build/; a root is kept in build/cache for as long as what it is made of stays the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin"

PY="$PWD/.venv/bin/python"
CACHE=build/cache
DIST="${DIST:-build/dist}"
GLIBC_MOST=2.31 # Debian 11, Ubuntu 20.04; RHEL 9 has 2.34
ARCH="$(uname -m)"
export SOURCE_DATE_EPOCH=1577836800 PYTHONHASHSEED=0 # the same bytes, whenever it is built

mkdir -p "$CACHE" "$DIST"
exec 9>"$CACHE/binary.lock"
flock 9 # two builds would share directories

# PyInstaller and what it brings, and the compressor, as pinned; its sources are for the bootloader, which is built with our part in it.
pyinstaller_pins() { grep -E '^(pyinstaller|altgraph|packaging|setuptools|pyinstaller-hooks-contrib|deflate)==' requirements-dev.txt | cut -d' ' -f1; }

bootloader_sources() { # DIRECTORY: PyInstaller's, with our part in them
    local pin
    pin="$(pyinstaller_pins | grep '^pyinstaller==')"
    local archive="$CACHE/pyinstaller-${pin#*==}.tar.gz"
    [ -f "$archive" ] || "$PY" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary pyinstaller \
        --dest "$CACHE" "$pin"
    rm -rf "$1"
    mkdir -p "$1"
    tar -xzf "$archive" -C "$1" --strip-components=1
    patch --silent -d "$1/bootloader/src" -p1 <packaging/bootloader/pyinstaller.patch
    cp packaging/bootloader/*.[ch] "$1/bootloader/src/"
}

build_here() {
    for tool in cc objdump patch; do
        command -v $tool >/dev/null || { echo "needs $tool: apt-get install build-essential" >&2; exit 1; }
    done
    bootloader_sources "$CACHE/bootloader-here"
    (cd "$CACHE/bootloader-here/bootloader" && PYI_STATIC_ZLIB=1 "$PY" waf configure build_release >build.log 2>&1) ||
        { tail -n 20 "$CACHE/bootloader-here/bootloader/build.log" >&2; exit 1; }
    TUNROUTER_BOOTLOADER="$CACHE/bootloader-here/bootloader/build/release/run" \
        "$PY" -m PyInstaller --noconfirm --clean --log-level ERROR --distpath "$DIST" --workpath build/work packaging/tunrouter.spec
}

build_in_old_root() {
    local recipe root site
    recipe="$(cat packaging/debian.sh packaging/root.sh packaging/root_inside.sh packaging/profile_task.py | sha256sum | cut -c1-12)"
    root="$CACHE/root-$recipe"
    [ -d "$root" ] || rm -rf --one-file-system "$CACHE"/root-*
    packaging/root.sh "$root"

    # Wheels for that Python and that glibc, by this machine's pip: no pip has to run in there.
    site="$root/opt/site"
    recipe="$( (cat requirements.txt && pyinstaller_pins) | sha256sum)"
    if [ "$(cat "$root/opt/site.stamp" 2>/dev/null)" != "$recipe" ]; then
        rm -rf "$site"
        local platforms=(manylinux2014 manylinux2010 manylinux1)
        for minor in $(seq 5 31); do platforms+=("manylinux_2_$minor"); done
        # shellcheck disable=SC2046
        "$PY" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: --target "$site" \
            --python-version "$(cat "$root/opt/python.version")" --implementation cp $(printf -- "--platform %s_$ARCH " "${platforms[@]}") \
            --requirement requirements.txt $(pyinstaller_pins)
        echo "$recipe" >"$root/opt/site.stamp"
    fi

    rm -rf --one-file-system "$root/src"
    mkdir -p "$root/src/packaging"
    bootloader_sources "$root/src/pyinstaller"
    cp -r lib tunrouter.py requirements.txt LICENSE "$root/src/"
    cp -r packaging/{examples,page,tunrouter.spec,smaller.py,runtime_hook.py,binary_inside.sh} "$root/src/packaging/"
    find "$root/src/lib" -name __pycache__ -prune -exec rm -rf {} +
    chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8 HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
        SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" PYTHONHASHSEED="$PYTHONHASHSEED" /bin/bash /src/packaging/binary_inside.sh
    install -m 755 "$root/src/dist/tunrouter" "$DIST/tunrouter"
}

if [ "${1:-}" = --here ]; then
    build_here
    GLIBC_MOST=
elif [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    echo "The executable that runs on old systems too is built in a Debian root: by root, with debootstrap." >&2
    echo "Neither is asked for by this one, from the Python that is here; it runs on systems no older than this." >&2
    build_here
    GLIBC_MOST=
else
    build_in_old_root
fi
(cd "$DIST" && sha256sum tunrouter >SHA256SUMS)
"$PY" packaging/glibc.py ${GLIBC_MOST:+--most "$GLIBC_MOST"} "$DIST/tunrouter"
