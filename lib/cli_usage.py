"""The command line's text: what docopt reads, --help prints, completions and the man page are made from.

Knows: every command and option, in words. Refuses to know: what they do (cli_main).
"""

from __future__ import annotations

import re

USAGE = """\
tunrouter: a routing tunnel, drop-in for GOST v3's.

Usage:
  tunrouter [-D] [-L URL]... [-F URL]... [-C FILE]... [-O FORMAT] [-R TIME] [--api ADDR] [--metrics ADDR]
            [--control PATH] [--user NAME] [--single PIDFILE] [--trace FILTER]
  tunrouter check [-D] [-L URL]... [-F URL]... [-C FILE]... [--json]
  tunrouter lint [--json] FILE...
  tunrouter explain [-C FILE]... [--control PATH] [--service NAME] [--ns UUID] [--from HOST] [--source IP]
            [--port SERVICE] [--json] ADDRESS
  tunrouter (status | drops) [--control PATH] [--watch] [--json]
  tunrouter top [--control PATH] [--sort COLUMN]
  tunrouter routes [--control PATH] [--service NAME] [--ns UUID] [--json] [PREFIX]
  tunrouter (kick | drain) [--control PATH] [--ns UUID] HOST
  tunrouter capture [--control PATH] [--host HOST] [--ns UUID] [--count N] [--recorder] -w FILE [FILTER...]
  tunrouter trace [--control PATH] [--host HOST] [--ns UUID] [--count N] [FILTER...]
  tunrouter hash
  tunrouter demo [--keep] [--seconds N]
  tunrouter completion (bash | zsh | fish)
  tunrouter (man | licences)
  tunrouter (-V | --version)
  tunrouter (-h | --help)

Commands:
  (none)            run: hubs, clients or both, until SIGTERM
  check             read everything, touch nothing, say what it means and what is wrong
  lint              say what a file gets silently wrong under GOST
  explain           say what becomes of a packet to ADDRESS and why, by a file or by what runs here
  status            print the sessions of what runs here
  drops             print what was dropped, of whom, why, and what to do about it
  top               show sessions live, on the whole screen
  routes            print routes with the gateway that carries each now
  kick              end the sessions of HOST; it may come back
  drain             ask HOST to have another session before it gives up this one
  capture           write packets, with what became of each, to a file
  trace             print packets, with what became of each
  hash              read a password, print what to store instead of it
  demo              show two hosts behind a hub, in network namespaces, and remove them again
  completion        print what completes these words in a shell
  man               print the manual page
  licences          print the licences of everything inside

Options:
  -L URL            a service: tun:///HOST?net=CIDR (a client) or router://:PORT?router=NAME (a hub)
  -F URL            the hub a client connects to: router://[USER:PASS@]HUB:PORT[?router.id=UUID]
  -C FILE           a configuration: a file, - for standard input, or JSON itself
  -O FORMAT         print the configuration that results, as yaml or json, and end
  -D                log decisions too, and what was dropped when it ends
  -R TIME           read the configuration again this often (10s, 1m30s)
  --api ADDR        serve the web API
  --metrics ADDR    serve metrics: [USER:PASS@]HOST:PORT[?path=/metrics]
  --control PATH    the control socket, none for no such thing;
                    without it /run/tunrouter/PID.sock, or in $XDG_RUNTIME_DIR
  --user NAME       become this user once devices and ports are open
  --single PIDFILE  end at once, with status 0, where another one holds this file
  --trace FILTER    log packets that fit, with what became of them, a few a second
  --json            print for machines
  --watch           print again and again, until interrupted
  --sort COLUMN     what the live screen is sorted by
  --service NAME    of which hub, where there are several
  --ns UUID         in which namespace; none given means that of those who name none
  --from HOST       which host sends
  --source IP       from which address; none given means one that HOST may send from
  --port SERVICE    to which service, as tcp/22; none given means a ping
  --host HOST       only what this host sends or receives
  --count N         end after so many packets
  --recorder        what the flight recorder kept, instead of what comes
  -w FILE           where the packets go, as pcapng; - for standard output
  --keep            leave the demo's network running and print commands to play with
  --seconds N       how long the demo shows its live table; 5 where not given
  -V, --version     print the version
  -h, --help        print this

Without -L and -C, tunrouter.yaml (or .yml, .json) is looked for in /etc/tunrouter, ~/.tunrouter
and here. SIGUSR1 logs what was dropped so far, SIGHUP reads the configuration again.
"""

_OPTION = re.compile(r"^  (?:(-\w)(?:, )?)?(?:(--\w+))? ?([A-Z]+)?  +\S", re.MULTILINE)


def flags() -> list[tuple[str, str, str]]:
    """Every option as (short or "", long or "", the name of its value or "")."""
    return [(short, long, value) for short, long, value in _OPTION.findall(USAGE) if short or long]


LONG_FLAGS = frozenset(long.removeprefix("--") for _, long, _ in flags() if long)
VALUE_FLAGS = frozenset(name for short, long, value in flags() if value for name in (short, long) if name)
