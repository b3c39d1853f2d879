#!/bin/sh
# Installs and removes tunrouter: the executable, units, completions, the manual, the guide, examples, a configuration.
#
#   packaging/install.sh [install]              asks nothing, may be run again, leaves a configuration as it is
#   packaging/install.sh uninstall [--purge]    leaves /etc/tunrouter, what is kept, and the user, unless --purge
#
# PREFIX (/usr/local)   where to            DESTDIR      a folder to install into, for packages
# EXECUTABLE            which one           UNITDIR, ZSHDIR    where systemd and zsh look, if not in the usual places
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
PREFIX=${PREFIX:-/usr/local} DESTDIR=${DESTDIR:-}
EXECUTABLE=${EXECUTABLE:-$here/../build/dist/tunrouter}
POLKITDIR=/etc/polkit-1/rules.d # polkit does not look below /usr/local before version 121
case $PREFIX in
/usr) POLKITDIR=/usr/share/polkit-1/rules.d UNITDIR=${UNITDIR:-/lib/systemd/system} ;;
/usr/local) UNITDIR=${UNITDIR:-/usr/local/lib/systemd/system} ;;
*) UNITDIR=${UNITDIR:-/etc/systemd/system} ;;
esac
ZSHDIR=${ZSHDIR:-$PREFIX/share/zsh/site-functions}
program=$PREFIX/bin/tunrouter
share=$PREFIX/share
doc=$share/doc/tunrouter
config=/etc/tunrouter/tunrouter.yaml

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# The files by where they go; what makes each is said in `make`.
files() {
    cat <<LIST
755 $program
644 $UNITDIR/tunrouter.service
644 $UNITDIR/tunrouter@.service
644 $POLKITDIR/tunrouter.rules
644 $share/bash-completion/completions/tunrouter
644 $ZSHDIR/_tunrouter
644 $share/fish/vendor_completions.d/tunrouter.fish
644 $share/man/man8/tunrouter.8
644 $doc/examples/supervisord.conf
644 $doc/examples/cron
644 $doc/schema/control.json
644 $doc/grafana/tunrouter.json
644 $doc/PROTOCOL.md
644 $doc/SECURITY.md
LIST
    for page in "$here"/docs/*.md; do
        echo "644 $doc/${page##*/}"
    done
    for example in "$here"/examples/*; do
        echo "644 $doc/examples/${example##*/}"
    done
}

here_paths() { # the paths of a file as they are here
    sed "s|/usr/bin/tunrouter|$program|g" "$1"
}

page() { # a page as it is where it is installed: all pages in one folder, the examples below; no link leads nowhere
    sed -e 's|\[\([^]]*\)\](\(\.\./\)*tests/[^)]*)|\1|g' -e 's|\[\([^]]*\)\](\.\./README\.md)|\1|g' \
        -e 's|](\.\./\.\./|](|g' -e 's|packaging/docs/||g' \
        -e 's#packaging/\(examples\|schema\|grafana\)/#\1/#g' "$1"
}

make() { # what belongs at a path
    case $1 in
    "$program") cat "$EXECUTABLE" ;;
    */tunrouter.service | */tunrouter@.service) here_paths "$here/systemd/${1##*/}" ;;
    */tunrouter.rules) cat "$here/polkit/tunrouter.rules" ;;
    */bash-completion/*) "$EXECUTABLE" completion bash ;;
    */_tunrouter) "$EXECUTABLE" completion zsh ;;
    *.fish) "$EXECUTABLE" completion fish ;;
    *.8) "$EXECUTABLE" man ;;
    */schema/control.json | */grafana/tunrouter.json) cat "$here/${1#"$doc/"}" ;;
    */PROTOCOL.md | */SECURITY.md) page "$here/../${1##*/}" ;;
    *.md) page "$here/docs/${1##*/}" ;;
    */examples/supervisord.conf) here_paths "$here/supervisord/tunrouter.conf" ;;
    */examples/cron) here_paths "$here/cron/tunrouter" ;;
    */examples/*) cat "$here/examples/${1##*/}" ;;
    "$config") cat "$here/tunrouter.yaml" ;;
    esac
}

place() { # MODE PATH: whole or not at all, so that a running executable stays as it is
    target=$DESTDIR$2
    mkdir -p "${target%/*}"
    new=$target.new.$$
    make "$2" >"$new" || { rm -f "$new"; fail "cannot make $2"; }
    chmod "$1" "$new"
    if [ -f "$target" ] && cmp -s "$new" "$target"; then
        chmod "$1" "$target"
        rm "$new"
        echo "unchanged  $target"
    else
        if [ -e "$target" ]; then did=replaced; else did=installed; fi
        mv -f "$new" "$target"
        printf '%-10s %s\n' "$did" "$target"
    fi
}

is_root() { [ "$(id -u)" = 0 ]; }
live() { [ -z "$DESTDIR" ] && is_root; }
systemd_runs() { live && [ -d /run/systemd/system ]; }

add_user() {
    getent passwd tunrouter >/dev/null && return
    useradd --system --user-group --home-dir /var/lib/tunrouter --no-create-home --shell /usr/sbin/nologin tunrouter
    echo "added      user tunrouter"
}

install_all() {
    [ -x "$EXECUTABLE" ] || fail "there is no $EXECUTABLE: make binary, or say EXECUTABLE=/where/it/is"
    files | while read -r mode path; do place "$mode" "$path"; done
    if live; then add_user; fi
    if [ -e "$DESTDIR$config" ]; then
        echo "kept       $DESTDIR$config"
    else
        mkdir -p "$DESTDIR/etc/tunrouter"
        chmod 750 "$DESTDIR/etc/tunrouter"
        place 640 "$config"
        if live; then chgrp tunrouter /etc/tunrouter "$config"; fi
    fi
    if systemd_runs; then
        systemctl daemon-reload
        echo "next       edit $config, then: systemctl enable --now tunrouter"
    fi
}

uninstall_all() {
    if systemd_runs; then
        systemctl disable --now tunrouter.service 2>/dev/null || :
        systemctl stop 'tunrouter@*.service' 2>/dev/null || :
    fi
    files | while read -r _ path; do
        if [ -e "$DESTDIR$path" ]; then
            rm -f "$DESTDIR$path"
            echo "removed    $DESTDIR$path"
        fi
    done
    rmdir "$DESTDIR$doc/examples" "$DESTDIR$doc/schema" "$DESTDIR$doc/grafana" "$DESTDIR$doc" 2>/dev/null || :
    if systemd_runs; then systemctl daemon-reload; fi
    for path in /etc/tunrouter /var/lib/tunrouter /var/log/tunrouter; do
        [ -e "$DESTDIR$path" ] || continue
        if [ "$1" = purge ]; then
            rm -rf "$DESTDIR$path"
            echo "removed    $DESTDIR$path"
        else
            echo "kept       $DESTDIR$path"
        fi
    done
    if [ "$1" = purge ] && live && getent passwd tunrouter >/dev/null; then
        userdel tunrouter
        echo "removed    user tunrouter"
    fi
}

case "${1:-install} ${2:-}" in
"install ") install_all ;;
"uninstall ") uninstall_all keep ;;
"uninstall --purge") uninstall_all purge ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
