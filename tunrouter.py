#!/usr/bin/env python3
"""The entry point: quick commands by lib.cli_entry, all others by lib.cli_main under gevent."""

import os
import sys

from lib import cli_descriptors, service_environment, service_signals

if __name__ == "__main__":
    service_signals.hold()
    cli_descriptors.complete()
    service_environment.set_aside(os.environ, loaded=hasattr(sys, "frozen"))

    from lib import cli_entry

    if cli_entry.is_at_once(sys.argv[1:]):
        sys.exit(cli_entry.do_at_once(sys.argv[1:]))

    from gevent import monkey

    monkey.patch_all()

    from lib.cli_main import main

    sys.exit(main())
