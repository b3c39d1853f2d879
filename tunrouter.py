#!/usr/bin/env python3
"""tunrouter's entry: a question to a running process at once; the rest monkey-patched first (lib.app)."""

import sys

from lib import front

if __name__ == "__main__":
    if front.is_question(sys.argv[1:]):
        sys.exit(front.ask(sys.argv[1:]))

    from gevent import monkey

    monkey.patch_all()

    from lib.app import main

    sys.exit(main())
