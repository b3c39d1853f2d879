"""What a hub loads that nobody has asked anything else of: each module costs every hub memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lib import service_preload
from tests.support.netns import ROOT

LISTED = ROOT / "tests/data/modules_of_a_plain_hub.txt"
PLAIN = ("-L", "router://127.0.0.1:0")
MORE = """\
services:
- {name: hub, addr: '127.0.0.1:0', admission: m, observer: o, handler: {type: router}, listener: {type: tcp}}
admissions: [{name: m, matchers: [192.0.2.1]}]
observers: [{name: o, plugin: {type: http, addr: 'http://127.0.0.1:9/'}}]
namespaces: [{id: e87f56dd-fd57-4921-9ab8-100000000001, title: Shop}]
api: {addr: 'unix://%s'}
"""
ASKED = ("an admission", "an observer", "titles", "the web API")


TOLD_AT_THE_END = """if True:
    import atexit, runpy, sys
    atexit.register(lambda: print(*sys.modules))
    sys.argv[0] = "tunrouter.py"
    runpy.run_path("tunrouter.py", run_name="__main__")
"""


def loaded(*options: str) -> set[str]:
    """The modules of a process that has come to serve."""
    argv = (sys.executable, "-c", TOLD_AT_THE_END, *options, "--control", "none")
    hub = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with hub:
        assert hub.stdout is not None
        assert hub.stderr is not None
        for line in hub.stderr:
            if "listening on" in line:
                hub.terminate()
        told = set(hub.stdout.read().split())
    assert "lib.hub_session" in told
    return told


def optional(needs: set[str]) -> set[str]:
    return {one for what in needs for one in service_preload.NEEDED[what]}


def test_a_plain_hub_loads_what_is_listed() -> None:
    """Let only those load a module that ask for what is in it (service_preload.NEEDED), or list it here.

    With WRITE_LIST=1 in its environment this test writes the list.
    """
    found = loaded(*PLAIN)
    ours = sorted(name for name in found if name.startswith("lib."))
    if os.environ.get("WRITE_LIST"):
        LISTED.write_text("\n".join(ours) + "\n")
    assert ours == LISTED.read_text().split()
    asked = optional(set(service_preload.NEEDED) - {"any process"})
    assert not asked & set(ours)
    assert not {"bottle", "gevent.pywsgi"} & found


def test_who_asks_for_more_loads_it_before_it_serves(tmp_path: Path) -> None:
    path = tmp_path / "more.yml"
    path.write_text(MORE % (tmp_path / "api.sock"))
    assert optional(set(ASKED)) <= loaded("-C", str(path))
