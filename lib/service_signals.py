"""Signals in the first moments of the program, before anything is there that could obey them.

Knows: which signals wait, and for whom. Refuses to know: what a running process does with them (service).

    the first line of tunrouter.py    SIGHUP and SIGUSR1 are blocked: they wait. SIGINT ends the process as
                                      SIGTERM does, without a traceback
    a service has handlers for them   those that have waited are delivered (release)
    the service has ended             nobody is there to obey them: all are ignored (ended)
    any other command                 they have their usual effect; SIGINT is KeyboardInterrupt (ordinary)

The executable's bootloader blocks SIGHUP, SIGUSR1 and SIGINT even before Python starts (tunrouter_unpack.c).
"""

from __future__ import annotations

import signal

_WAITING = (signal.SIGHUP, signal.SIGUSR1)


def hold() -> None:
    """Block the signals that a service obeys. Whatever else the caller has blocked or ignored is undone.

    A process that inherits a blocked SIGTERM could not be ended, and one that inherits an ignored SIGCHLD
    could not wait for its children. An ignored SIGINT stays: a shell starts its background jobs like this.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _WAITING)


def release() -> None:
    """Deliver the signals that have waited, to the handlers that are there now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITING)


def ended() -> None:
    """Ignore the signals that the service obeyed: they come while the interpreter is taken down.

    The handlers are those of gevent's loop, which is taken down with it.
    """
    for code in (*_WAITING, signal.SIGTERM, signal.SIGINT):
        signal.signal(code, signal.SIG_IGN)


def ordinary() -> None:
    """Give every signal its usual effect, for a command that is no service."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    release()
