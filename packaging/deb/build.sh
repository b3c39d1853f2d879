#!/bin/sh
# Builds build/dist/tunrouter_VERSION_ARCH.deb out of build/dist/tunrouter (`make deb`). Needs dpkg-deb, nothing else.
# The same executable and commit give the same bytes.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
dist=$root/build/dist
executable=${EXECUTABLE:-$dist/tunrouter}
[ -x "$executable" ] || { echo "there is no $executable: make binary" >&2; exit 1; }

version=${VERSION:-$("$executable" --version | cut -d ' ' -f 2)}
arch=${ARCH:-$(dpkg --print-architecture)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

stage=$root/build/work/deb
rm -rf "$stage"
mkdir -p "$stage/DEBIAN" "$dist"
DESTDIR=$stage PREFIX=/usr ZSHDIR=/usr/share/zsh/vendor-completions EXECUTABLE=$executable \
    "$here/../install.sh" install >/dev/null

doc=$stage/usr/share/doc/tunrouter
cp "$here/copyright" "$doc/copyright"
"$executable" licences >"$doc/LICENCES"
day=$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
{
    echo "tunrouter ($version) unstable; urgency=medium"
    printf '\n  * See CHANGELOG.md of the project.\n\n'
    echo " -- The tunrouter developers <tunrouter@localhost>  $day"
} | gzip -9n >"$doc/changelog.gz"
gzip -9n "$stage/usr/share/man/man8/tunrouter.8"
mkdir -p "$stage/usr/share/lintian/overrides"
cp "$here/lintian-overrides" "$stage/usr/share/lintian/overrides/tunrouter"

glibc=$("$python" "$here/../glibc.py" "$executable" | sed -n 's/.* needs glibc \([0-9.]*\) .*/\1/p')
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@GLIBC@/$glibc/" \
    -e "s/@SIZE@/$(du -sk --apparent-size --exclude=DEBIAN "$stage" | cut -f 1)/" "$here/control" >"$stage/DEBIAN/control"
echo /etc/tunrouter/tunrouter.yaml >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$stage/DEBIAN/$script"; done
(cd "$stage" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
chmod 644 "$stage/DEBIAN/control" "$stage/DEBIAN/conffiles" "$stage/DEBIAN/md5sums"
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

package=$dist/tunrouter_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz -z0 --build "$stage" "$package" >/dev/null
rm -rf "$stage"
echo "${package#"$root/"}"
