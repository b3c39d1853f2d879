"""The usage text: docopt parses it, --help prints it, completions and the manual page are made from it.

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
  explain           say what becomes of a packet to ADDRESS and why, by a running hub or by a file (-C)
  status            print the sessions of the running process
  drops             print how many packets were dropped, whose, why, and what to do about it
  top               show sessions live, on the whole screen
  routes            print routes with the gateway that carries each now
  kick              end the sessions of HOST; it may come back
  drain             ask HOST to have another session before it gives up this one
  capture           write packets, with what became of each, to a file
  trace             print packets, with what became of each
  hash              read a password, print what to store instead of it
  demo              show two hosts behind a hub, in network namespaces, and remove them again
  completion        print the completion script for a shell
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
  --control PATH    the control socket; the word none is for no control socket;
                    without it /run/tunrouter/PID.sock, or in $XDG_RUNTIME_DIR
  --user NAME       become this user once devices and ports are open
  --single PIDFILE  run only once: end at once, with status 0, if a running tunrouter holds this file
  --trace FILTER    log packets that fit, with what became of them, a few a second
  --json            print JSON, for programs
  --watch           print again and again, until interrupted
  --sort COLUMN     what the live screen is sorted by
  --service NAME    the service of the hub that is meant, where there are several hubs
  --ns UUID         only this namespace; explain without it takes the default one, of clients without an id
  --from HOST       the host that sends the packet
  --source IP       the packet's source address; without it, one that HOST may send from
  --port SERVICE    the packet's protocol and port, as tcp/22; without it, a ping
  --host HOST       only what this host sends or receives
  --count N         end after so many packets
  --recorder        write what the flight recorder has kept, and no new packets
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
