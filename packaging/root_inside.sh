#!/bin/bash
# Runs in the root that root.sh makes: a C compiler from Debian 11; OpenSSL 3 and Python 3.11 from Debian 12's source
# packages, into /opt/python.
set -euo pipefail

tools() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq upgrade --yes >/dev/null
    apt-get -qq install --yes --no-install-recommends gcc libc6-dev make perl patch xz-utils binutils dpkg-dev pkg-config libffi-dev zlib1g-dev

    mkdir -p /build && cd /build
    # Debian's security updates, where the mirror has their sources; else the last point release.
    cp /etc/apt/security.list /etc/apt/sources.list.d/security.list
    apt-get -qq update
    for package in openssl python3.11; do
        apt-get -qq source --download-only $package || echo $package >>again
    done
    if [ -f again ]; then
        rm /etc/apt/sources.list.d/security.list
        apt-get -qq update
        xargs apt-get -qq source --download-only <again
    fi
    for package in openssl python3.11; do
        # Where both versions were begun, only one is whole.
        for dsc in $(ls -r ${package}_*.dsc); do
            dpkg-source -x "$dsc" $package && break
        done
        [ -d $package ]
    done
    (cd openssl && openssl_build)
    (cd python3.11 && python_build)
    mkdir -p /opt/licences
    licences
    echo 3.11 >/opt/python.version
    cd /
    rm -rf /build /var/cache/apt/archives/*.deb
}

# What is in the executable without being a Python package, for `tunrouter licences`.
licences() {
    local python=/opt/python/bin/python3.11 openssl
    openssl="$($python -c 'import ssl; print(" ".join(ssl.OPENSSL_VERSION.split()[:2]))')"
    licence() { { echo "License: $2"; cat "$3"; } >"/opt/licences/$1.txt"; }
    licence "Python $($python -c 'import platform; print(platform.python_version())')" PSF-2.0 python3.11/LICENSE
    licence "$openssl" Apache-2.0 openssl/LICENSE.txt
    licence zlib Zlib /usr/share/doc/zlib1g/copyright
    licence libffi MIT /usr/share/doc/libffi7/copyright
    licence "libstdc++ and libgcc" "GPL-3.0-or-later WITH GCC-exception-3.1" /usr/share/doc/gcc-10-base/copyright
}

# What no TLS, no certificate and no scrypt needs is left out.
openssl_build() {
    local without=(aria bf camellia cast cmp cms ct dsa gost idea md4 mdc2 ocb rc2 rc4 rmd160 seed siv sm2 sm3 sm4
        srp srtp ts whirlpool dtls comp engine legacy module dso tests)
    ./config --prefix=/opt/python --libdir=lib --openssldir=/etc/ssl "${without[@]/#/no-}"
    make -j"$JOBS" build_libs
    make install_dev
}

# -fno-semantic-interposition: libpython calls itself directly, as a Python without a shared library does.
# --enable-optimizations: compiled for what profile_task.py does. The counts of that alone are used, not those of what
# the build itself runs in no certain order; and at addresses that do not change, on which Python's caches depend:
# the same recipe makes the same bytes.
python_build() {
    cat >Modules/Setup.local <<'MODULES'
*disabled*
_bz2 _lzma _sqlite3 _tkinter _curses _curses_panel _dbm _gdbm readline nis ossaudiodev audioop spwd _crypt
_testcapi _testinternalcapi _testbuffer _testimportmultiple _testmultiphase _testclinic _ctypes_test _xxtestfuzz
xxlimited xxlimited_35 _xxsubinterpreters pyexpat _elementtree
MODULES
    ./configure -q --prefix=/opt/python --enable-shared --with-openssl=/opt/python --with-openssl-rpath=auto \
        --without-ensurepip --disable-test-modules --enable-optimizations \
        CFLAGS="-g0 -fno-semantic-interposition" LDFLAGS="-Wl,-rpath,/opt/python/lib"
    local still=
    setarch -R true 2>/dev/null && still="setarch -R"
    export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
    make -s -j"$JOBS" profile-gen-stamp
    find . -name '*.gcda' -delete
    $still make -s -j"$JOBS" PROFILE_TASK=/opt/profile_task.py
    make -s install
}

tools
