#!/bin/bash
# Runs in the root that root.sh makes: /src/dist/tunrouter from /src, which binary.sh has filled.
set -euo pipefail

cd /src/pyinstaller/bootloader
PYI_STATIC_ZLIB=1 /opt/python/bin/python3.11 waf configure build_release >build.log 2>&1 || { tail -n 20 build.log; exit 1; }
# PyInstaller imports it for macOS, and Python's own needs pyexpat.
mkdir -p /src/stand-ins
echo '"""Stands for what is not used."""' >/src/stand-ins/plistlib.py
cd /src
TUNROUTER_BOOTLOADER=/src/pyinstaller/bootloader/build/release/run TUNROUTER_LICENCES=/opt/licences \
    PYTHONPATH=/opt/site:/src/stand-ins PYINSTALLER_CONFIG_DIR=/tmp/pyinstaller /opt/python/bin/python3.11 -m PyInstaller \
    --noconfirm --clean --log-level ERROR --distpath /src/dist --workpath /tmp/work packaging/tunrouter.spec
