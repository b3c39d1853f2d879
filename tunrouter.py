#!/usr/bin/env python3
"""The way in: lib.cli_entry does what needs little at once; for the rest, monkey-patch, then lib.cli_main."""

import sys

from lib import cli_entry

if __name__ == "__main__":
    if cli_entry.is_at_once(sys.argv[1:]):
        sys.exit(cli_entry.do_at_once(sys.argv[1:]))

    from gevent import monkey

    monkey.patch_all()

    from lib.cli_main import main

    sys.exit(main())
