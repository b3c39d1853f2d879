"""`tunrouter completion SHELL` and `man`: texts for other programs, on standard output.

Knows: which day is printed on the manual page. Refuses to know: the texts (cli_completion, cli_manpage).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from lib import __version__, cli_completion, cli_manpage


def run(arguments: Mapping[str, Any]) -> int:
    """Print the text that is asked for."""
    if arguments["man"]:
        print(cli_manpage.page(__version__, _date()), end="")
    else:
        shell = next(name for name in ("bash", "zsh", "fish") if arguments[name])
        print(cli_completion.script(shell), end="")
    return 0


def _date() -> str:
    """Today; whoever builds packages says which day, so that the same source gives the same page."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime(
        "%Y-%m-%d", time.gmtime(int(epoch) if epoch.isascii() and epoch.isdecimal() else None)
    )
