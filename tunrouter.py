#!/usr/bin/env python3
"""The entry point: quick commands by lib.cli_entry, all others by lib.cli_main under gevent."""

import errno
import os
import sys

_NO_MEMORY = "not enough memory: see ulimit -v, or the limit of the container or unit"


def _start() -> int:
    from lib import cli_descriptors, service_environment, service_signals

    service_signals.hold()
    cli_descriptors.complete()
    service_environment.set_aside(os.environ, loaded=hasattr(sys, "frozen"))

    from lib import cli_entry

    if cli_entry.is_at_once(sys.argv[1:]):
        return cli_entry.do_at_once(sys.argv[1:])

    from gevent import monkey

    monkey.patch_all()

    from lib.cli_main import main

    return main()


def _cannot_begin(error: BaseException | None) -> str:
    """Why the program cannot be loaded, in words; empty where it is another error.

    It may be the reason of the error that came of it: where memory is short, libraries fail in many ways.
    """
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return _NO_MEMORY
        if isinstance(error, ImportError) and "failed to map segment" in str(error):
            return _NO_MEMORY
        if isinstance(error, ModuleNotFoundError) and not f"{error.name}.".startswith("lib."):
            return f"{error}: install what requirements.txt names"
        error = error.__cause__ or error.__context__
    return ""


if __name__ == "__main__":
    try:
        status = _start()
    except Exception as error:
        why = _cannot_begin(error)
        if not why:
            raise
        sys.stderr.write(f"error: {why}\n")
        os._exit(1)  # gevent, half loaded, would have more to say
    sys.exit(status)
