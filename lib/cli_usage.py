"""The usage text: docopt parses it, --help prints it, completions and the manual page are made from it.

Knows: every command and option, in words. Refuses to know: what they do (cli_main).
"""

from __future__ import annotations

import re

USAGE = """\
tunrouter: a routing tunnel, a drop-in replacement for GOST v3's.

Usage:
  tunrouter [-D] [-L URL]... [-F URL]... [-C FILE]... [-O FORMAT] [-R TIME] [--only-tunnel] [--api ADDR]
            [--metrics ADDR] [--control PATH] [--user NAME] [--single PIDFILE] [--trace FILTER]
  tunrouter check [-D] [-L URL]... [-F URL]... [-C FILE]... [-R TIME] [--only-tunnel] [--api ADDR]
            [--metrics ADDR] [--control PATH] [--user NAME] [--single PIDFILE] [--trace FILTER] [--all]
            [--json]
  tunrouter test [-L URL]... [-F URL]... [-C FILE]... [--only-tunnel] [--json]
  tunrouter lint [--json] FILE...
  tunrouter doctor [-L URL]... [-F URL]... [-C FILE]... [--only-tunnel] [--control PATH] [--to ADDRESS]...
            [--bundle FILE] [--json] [FILE...]
  tunrouter explain [-L URL]... [-F URL]... [-C FILE]... [--only-tunnel] [--control PATH] [--service NAME]
            [--ns UUID] [--from HOST] [--source IP] [--port PORT] [--json] ADDRESS
  tunrouter status [--control PATH] [--host HOST] [--ns UUID] [--cluster] [--all] [--watch] [--json]
  tunrouter drops [--control PATH] [--host HOST] [--ns UUID] [--all] [--watch] [--json]
  tunrouter health [--control PATH] [--host HOST] [--ns UUID] [--json]
  tunrouter top [--control PATH] [--sort COLUMN]
  tunrouter routes [--control PATH] [--service NAME] [--ns UUID] [--json] [PREFIX]
  tunrouter (kick | drain) [--control PATH] [--service NAME] [--ns UUID] [--all] HOST
  tunrouter invite [--control PATH] [--service NAME] [--ns UUID] [--address ADDR] [--expires TIME]
            [--gateway PREFIX]... [--json] HOST
  tunrouter join [--into DIR] [--now] LINE
  tunrouter hosts [--control PATH] [--service NAME] [--host HOST] [--ns UUID] [--json]
  tunrouter revoke [--control PATH] [--service NAME] [--ns UUID] [--all] HOST
  tunrouter unlock
  tunrouter capture [--control PATH] [--host HOST] [--ns UUID] [--count N] [--recorder] -w FILE [FILTER...]
  tunrouter trace [--control PATH] [--host HOST] [--ns UUID] [--count N] [FILTER...]
  tunrouter hash
  tunrouter demo [--keep] [--seconds N]
  tunrouter completion (bash | zsh | fish)
  tunrouter (man | licences)
  tunrouter (-V | --version)
  tunrouter (-h | --help)

Commands:
  (none)            run hubs, clients or both, until SIGTERM
  check             read a configuration, touch nothing; say what it means and what is wrong
  test              run the policy tests of a configuration (tests:), with all its tables, sources and plugins
  lint              report mistakes in a file that GOST accepts without a word
  doctor            look at this host, the way to the hub and the tunnel; say what is wrong and what mends it
  explain           say what would happen to a packet to ADDRESS and why, by a running hub, or by -L and -C
  status            print the sessions of the running process; of many, those with problems and the busiest
  health            print whether every hub listens and every client is connected; the exit status says it too
  drops             print how many packets were dropped, whose they were, why, and what to do about it
  top               show sessions live on the whole screen
  routes            print routes, each with the gateway that carries it now
  kick              end the sessions of HOST; it may come back
  drain             ask HOST to open another session before it ends this one
  invite            let HOST join the hub that runs here: print the line for `tunrouter join`, good once
  join              join the hub of a LINE that `tunrouter invite` has printed; - reads it from standard input
  hosts             print who has joined, since when, and when they were last seen
  revoke            end the sessions of HOST for good: what it logs in with counts no more
  unlock            remove the killswitch that an ended run has left, so that this host reaches others again
  capture           write packets to a file, each with what became of it
  trace             print packets, each with what became of it
  hash              read a password and print the hash to store in its place
  demo              run two hosts behind a hub in network namespaces, and remove them again
  completion        print the completion script for a shell
  man               print the manual page
  licences          print the licences of all parts of this program

Options:
  -L URL            a service: tun:///HOST?net=CIDR (a client) or router://:PORT?router=NAME (a hub)
  -F URL            the hub a client connects to: router://[USER:PASS@]HUB:PORT[?router.id=UUID]
  -C FILE           a configuration: a file, - for standard input, or JSON text
  -O FORMAT         print the resulting configuration as yaml or json, and end
  -D                log decisions too, and at the end what was dropped
  -R TIME           read the configuration again every TIME (10s, 1m30s)
  --only-tunnel     run the routing tunnel's part of a file for GOST, and say what is left to GOST
  --api ADDR        serve the web API: [USER:PASS@]HOST:PORT[?pathPrefix=/api&accesslog=true]
  --metrics ADDR    serve metrics: [USER:PASS@]HOST:PORT[?path=/metrics]
  --control PATH    the path of the control socket, or the word none for no control socket;
                    the default is /run/tunrouter/PID.sock; not as root, in $XDG_RUNTIME_DIR.
                    Without it, commands ask the one process that runs; root finds those of all users
  --user NAME       become this user once devices and ports are open
  --single PIDFILE  end at once, with status 0, if a running tunrouter holds this file
  --trace FILTER    log packets that match, each with what became of it, at most 20 a second
  --json            print JSON for programs
  --cluster         print the hubs of the cluster that the process is in, instead of its sessions
  --watch           print again every second, until Ctrl-C
  --sort COLUMN     the column by which the live screen is sorted
  --service NAME    the service of the hub, where there are several hubs
  --ns UUID         only this namespace, by UUID or title; explain takes the one that HOST is in
  --all             HOST in every namespace that has one of that name; check, status and drops: all
                    lines, however many (of each table status and drops print 200, --json all of them)
  --from HOST       the host that sends the packet
  --source IP       the packet's source address; the default is one that HOST may send from
  --port PORT       the packet's protocol and port, such as tcp/22; the default is a ping
  --to ADDRESS      an address behind the tunnel, which doctor pings from each address of this host
  --bundle FILE     pack the report, and what it is made of, without secrets into this tar.gz
  --host HOST       only this host: its sessions and clients, or packets that it sends or receives
  --address ADDR    where hosts reach the hub: NAME:PORT; or of a proxy before it wss://NAME[:PORT][/PATH]
                    or tls://NAME[:PORT], whose name hosts check instead of the hub's certificate
  --expires TIME    for how long the invitation is good (10m, 24h); the default is 1h
  --gateway PREFIX  a network behind HOST, or an address of HOST itself: the hub routes it there
  --into DIR        where the configuration and the login go; the default is /etc/tunrouter, not as root
                    ~/.tunrouter
  --now             start it at once: by systemd, where its unit is installed, or else here until Ctrl-C
  --count N         end after N packets
  --recorder        write the packets that the flight recorder has kept, and no new ones
  -w FILE           the pcapng file to write; - for standard output
  --keep            leave the demo running and print commands to try
  --seconds N       how many seconds the demo shows its live table; the default is 5
  -V, --version     print the version
  -h, --help        print this; behind a command, what belongs to that command

Without -L and -C, tunrouter reads tunrouter.yaml (or .yml, .json) in /etc/tunrouter, ~/.tunrouter
or the current directory. SIGUSR1 logs what was dropped so far. SIGHUP reads the configuration again.
"""

_OPTION = re.compile(r"^  (?:(-\w)(?:, )?)?(?:(--\w[\w-]*))? ?([A-Z]+)?  +\S", re.MULTILINE)


def flags() -> list[tuple[str, str, str]]:
    """Every option as (short or "", long or "", the name of its value or "")."""
    return [(short, long, value) for short, long, value in _OPTION.findall(USAGE) if short or long]


LONG_FLAGS = frozenset(name.removeprefix("--") for _, name, _ in flags() if name)
VALUE_FLAGS = frozenset(name for short, long, value in flags() if value for name in (short, long) if name)
