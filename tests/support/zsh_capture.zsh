# What zsh offers: zsh -f tests/support/zsh_capture.zsh SCRIPT LINE… prints what completes each LINE, and then "=".
# A real interactive zsh on a pseudo terminal; its compadd tells what it is given instead of showing it.
zmodload zsh/zpty
zpty z zsh -f -i
said() { # TEXT: wait for it
    local line
    repeat 4000; do
        zpty -r z line || return 1
        [[ $line == *$1* ]] && return 0
    done
}
zpty -w z "PROMPT=; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source ${(q)1}; echo 're'ady"
said ready
zpty -w z "$(<<'INSIDE'
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a hits
    builtin compadd -A hits "$@"
    local hit
    for hit in $hits; do print -r -- "offered:$hit:"; done
    return 0
}
complete-then-say() { zle complete-word; print -r -- "that is all"; BUFFER= }
zle -N complete-then-say
bindkey '^I' complete-then-say
zstyle ':completion:*' list-prompt
zstyle ':completion:*' verbose no
setopt no_beep
echo 're'ady2
INSIDE
)"
said ready2
for typed in $@[2,-1]; do
    zpty -w -n z "$typed"$'\t'
    repeat 4000; do
        zpty -r z line || break 2
        line=${line//$'\r'/}
        while [[ $line == *offered:* ]]; do
            line=${line#*offered:}
            print -r -- ${line%%:*}
            line=${line#*:}
        done
        [[ $line == *"that is all"* ]] && break
    done
    print =
done
zpty -d z
