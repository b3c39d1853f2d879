#!/usr/bin/env python3
"""tunrouter's entry: what can be done at once (lib.front); the rest monkey-patched first (lib.app)."""

import sys

from lib import front

if __name__ == "__main__":
    if front.is_at_once(sys.argv[1:]):
        sys.exit(front.do_at_once(sys.argv[1:]))

    from gevent import monkey

    monkey.patch_all()

    from lib.app import main

    sys.exit(main())
