#!/usr/bin/env python3
"""tunrouter's entry: monkey-patch first, then the program (lib.app)."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from lib.app import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
