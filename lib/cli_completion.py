"""Shell completion for bash, zsh and fish: three scripts made from the usage text.

Knows: what each option's value can be, and how each of the three shells is told.
Refuses to know: the commands and options themselves (cli_grammar).

The scripts hold all words, so a key press starts no program. Only for the names of hosts and services, and
the UUIDs and titles of namespaces, they run `tunrouter status --json`, for two seconds at most.
"""

from __future__ import annotations

from lib import cli_grammar
from lib.cli_columns import SESSIONS
from lib.cli_grammar import Command, Option

FILES, USERS = ("<files>",), ("<users>",)
RUNNING = {"<host>": "host", "<namespace>": "namespace", "<service>": "service"}
"""Kind of a name -> the field of the status reply that has such names."""

VALUES: dict[str, tuple[str, ...]] = {
    "-C": FILES,
    "-w": FILES,
    "--bundle": FILES,
    "--single": FILES,
    "--into": FILES,
    "--control": FILES,
    "-O": ("yaml", "json"),
    "--user": USERS,
    "--sort": tuple(column.title for column in SESSIONS),
    "--ns": ("<namespace>",),
    "--service": ("<service>",),
    "--from": ("<host>",),
    "--host": ("<host>",),
    "FILE": FILES,
    "HOST": ("<host>",),
}
"""Option or operand -> the values that are offered; for one that is not here, none are."""

# A shell expands the words it is given, and a host chooses its own name: only harmless letters are offered.
# A title is the operator's own: blanks in it, which each shell quotes, and letters of all scripts, which are
# escaped in the reply.
_PLAIN = r"""tr '{},' '\n' | sed -nE "s/^ *\"($field)\": \"(($letters)+)\"\$/\2/p" | sort -u"""
_LETTERS = "[A-Za-z0-9._@-]"
_HEX = "[0-9a-f]"
_ABOVE_ASCII = rf"[\]u(00[a-f]{_HEX}|0[1-9a-f]{_HEX}{_HEX}|[1-9a-cef]{_HEX}{_HEX}{_HEX}|d[0-7]{_HEX}{_HEX})"
_OF_TITLES = f"[A-Za-z0-9 ._@-]|{_ABOVE_ASCII}"
_NAMESPACES = "namespace|title"


def script(shell: str) -> str:
    """The completion script for a shell: "bash", "zsh" or "fish"."""
    template, parts = {"bash": (_BASH, _bash), "zsh": (_ZSH, _zsh), "fish": (_FISH, _fish)}[shell]
    commands = [command.name for command in cli_grammar.commands() if command.name]
    common = {
        "plain": _PLAIN,
        "letters": _LETTERS,
        "of_titles": _OF_TITLES,
        "namespaces": _NAMESPACES,
        "taking": [name for option in cli_grammar.options() if option.value for name in option.names],
        "commands": commands,
    }
    separator = " " if shell == "fish" else "|"
    for name, value in (*common.items(), *parts().items()):
        template = template.replace(f"@{name}@", value if isinstance(value, str) else separator.join(value))
    return template


def _operand(command: Command) -> tuple[str, ...]:
    """The values that a command's operand can have, or a kind of values such as FILES."""
    return command.choices or next((VALUES[name] for name in command.operands if name in VALUES), ())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# ---------------------------------------------------------------- bash

_BASH = r"""# bash completion for tunrouter, made by `tunrouter completion bash`

_tunrouter_words() {
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$current")
}
_tunrouter_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
_tunrouter_users() {
    mapfile -t COMPREPLY < <(compgen -u -- "$current")
}
_tunrouter_running() {
    local field=$1 letters='@letters@' word quoted
    [[ $field == namespace ]] && field='@namespaces@' letters='@of_titles@'
    while IFS= read -r word; do
        printf -v word %b "$word"
        printf -v quoted %q "$word"
        if [[ $current == [\"\']* ]]; then
            [[ $word == "${current:1}"* ]] && COMPREPLY+=("$word")
        elif [[ $quoted == "$current"* ]]; then
            COMPREPLY+=("$quoted")
        fi
    done < <(timeout 2 "$program" status --json ${control:+--control "$control"} 2>/dev/null |
        @plain@)
}
_tunrouter() {
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local command= control= word index
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        case $word in
        @taking@)
            [[ ${COMP_WORDS[index+1]} == = ]] && ((index++))
            ((index++))
            [[ $word == --control ]] && control=${COMP_WORDS[index]}
            ;;
        @commands@) command=${command:-$word} ;;
        esac
    done
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD-2]}
    fi
    case $previous in
@values@
    esac
    if [[ $current == -* ]]; then
        case $command in
@options@
        esac
        return
    fi
    case $command in
    '') _tunrouter_words @names@ ;;
@operands@
    esac
}
complete -F _tunrouter tunrouter
"""


def _bash() -> dict[str, str]:
    commands = cli_grammar.commands()
    values = [
        f"    {'|'.join(option.names)}) {_bash_words(VALUES.get(option.names[-1], ()))}; return ;;"
        for option in cli_grammar.options()
        if option.value
    ]
    options = [
        f"        {command.name or _quoted('')}) _tunrouter_words "
        + " ".join(name for option in cli_grammar.options_of(command) for name in option.names)
        + " ;;"
        for command in commands
    ]
    operands = [
        f"    {name}) {_bash_words(_operand(c))} ;;" for c in commands if (name := c.name) and _operand(c)
    ]
    return {
        "values": "\n".join(values),
        "options": "\n".join(options),
        "operands": "\n".join(operands),
        "names": " ".join(command.name for command in commands if command.name),
    }


def _bash_words(kind: tuple[str, ...]) -> str:
    if not kind:
        return ":"
    if kind in (FILES, USERS):
        return f"_tunrouter_{kind[0].strip('<>')}"
    if kind[0] in RUNNING:
        return f"_tunrouter_running {RUNNING[kind[0]]}"
    return f"_tunrouter_words {' '.join(kind)}"


# ---------------------------------------------------------------- zsh

_ZSH = r"""#compdef tunrouter
# zsh completion for tunrouter, made by `tunrouter completion zsh`

_tunrouter_running() {
    local field=$1 letters='@letters@' control=${words[(I)--control]}
    local -a found given
    [[ $field == namespace ]] && field='@namespaces@' letters='@of_titles@'
    ((control)) && given=(--control "${words[control+1]}")
    found=(${(f)"$(timeout 2 $words[1] status --json $given 2>/dev/null |
        @plain@)"})
    found=("${(@g::)found}")
    compadd -a found
}
_tunrouter() {
    local context state state_descr line command= word skip=
    typeset -A opt_args
    local -a commands
    commands=(
@described@
    )
    for word in ${words[2,CURRENT-1]}; do
        if [[ -n $skip ]]; then skip=; continue; fi
        case $word in
        (@taking@) skip=1 ;;
        (@commands@) command=$word; break ;;
        esac
    done
    case $command in
@cases@
    esac
    [[ $state == command ]] && _describe -t commands command commands
}
if [[ $funcstack[1] == _tunrouter ]]; then
    _tunrouter "$@"
else
    compdef _tunrouter tunrouter
fi
"""


def _zsh() -> dict[str, str]:
    commands = cli_grammar.commands()
    described = [
        f"        {_quoted(f'{command.name}:{_zsh_plain(command.about)}')}"
        for command in commands
        if command.name
    ]
    return {"described": "\n".join(described), "cases": "\n".join(map(_zsh_case, commands))}


def _zsh_case(command: Command) -> str:
    specs = [_quoted("1:command: " if command.name else "1:command:->command")]
    specs += [
        spec for option in cli_grammar.options_of(command) for spec in _zsh_option(option, command.repeats)
    ]
    if command.choices or command.operands:
        what = (command.operands or ("which",))[0]
        repeated = "*" if what in command.repeats else "2"
        specs.append(_quoted(f"{repeated}:{what}:{_zsh_action(_operand(command))}"))
    lines = "".join(f"        {spec} \\\n" for spec in specs)
    return f"    ({command.name or _quoted('')}) _arguments -S \\\n{lines}        && return 0 ;;"


def _zsh_plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _zsh_option(option: Option, repeats: frozenset[str]) -> list[str]:
    about = _zsh_plain(option.about).replace("[", "\\[").replace("]", "\\]")
    if option.long in ("--version", "--help"):
        return [_quoted(f"(- *){name}[{about}]") for name in option.names]
    many = "*" if repeats.intersection(option.names) else ""
    value = f":{option.value}:{_zsh_action(VALUES.get(option.names[-1], ()))}" if option.value else ""
    return [
        _quoted(f"{many}{name}{'=' if option.value and name == option.long else ''}[{about}]{value}")
        for name in option.names
    ]


def _zsh_action(kind: tuple[str, ...]) -> str:
    if not kind:
        return " "
    if kind in (FILES, USERS):
        return f"_{kind[0].strip('<>')}"
    if kind[0] in RUNNING:
        return f" _tunrouter_running {RUNNING[kind[0]]}"
    return f"({' '.join(kind)})"


# ---------------------------------------------------------------- fish

_FISH = r"""# fish completion for tunrouter, made by `tunrouter completion fish`

function __tunrouter_is --description 'Whether the command on the line is one of these'
    set -l words (commandline -opc)
    set -l skip
    for word in $words[2..]
        if test -n "$skip"
            set skip
        else if contains -- $word @taking@
            set skip 1
        else if contains -- $word @commands@
            contains -- $word $argv
            return
        end
    end
    contains -- none $argv
end
function __tunrouter_running --description 'What runs here says' --argument-names field
    set -l words (commandline -opc)
    set -l given
    if set -l at (contains -i -- --control $words)
        set given --control $words[(math $at + 1)]
    end
    set -l letters '@letters@'
    if test $field = namespace
        set field '@namespaces@'
        set letters '@of_titles@'
    end
    timeout 2 $words[1] status --json $given 2>/dev/null |
        @plain@ | while read -l word
        printf '%b\n' $word
    end
end
complete -c tunrouter -f
@lines@
"""


def _fish() -> dict[str, str]:
    commands = cli_grammar.commands()
    lines = [
        f"{_fish_when('none')} -a {command.name} -d {_fish_quoted(command.about)}"
        for command in commands
        if command.name
    ]
    for option in cli_grammar.options():
        having = [command.name or "none" for command in commands if option in cli_grammar.options_of(command)]
        flags = " ".join(
            f"-s {name[1:]}" if name == option.short else f"-l {name[2:]}" for name in option.names
        )
        value = _fish_value(VALUES.get(option.names[-1], ())) if option.value else ""
        lines.append(f"{_fish_when(*having)} {flags}{value} -d {_fish_quoted(option.about)}")
    lines += [f"{_fish_when(c.name)} {_fish_operand(_operand(c))}" for c in commands if _operand(c)]
    return {"lines": "\n".join(lines)}


def _fish_when(*names: str) -> str:
    return f"complete -c tunrouter -n '__tunrouter_is {' '.join(names)}'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_value(kind: tuple[str, ...]) -> str:
    return " -r -F" if kind == FILES else f" -x {_fish_operand(kind)}".rstrip()


def _fish_operand(kind: tuple[str, ...]) -> str:
    if not kind:
        return ""
    if kind == FILES:
        return "-F"
    if kind == USERS:
        return "-a '(__fish_complete_users)'"
    if kind[0] in RUNNING:
        return f"-a '(__tunrouter_running {RUNNING[kind[0]]})'"
    return f"-a {_quoted(' '.join(kind))}"
