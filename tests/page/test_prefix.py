"""The page of a real hub below a prefix, over TLS, with a login: all that it asks for is there, and so is its cookie."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from lib.wire_relay import Request
from tests.page.conftest import Opens
from tests.support.api import free_port
from tests.support.netns import ROOT, Process
from tests.support.program import TUNROUTER, example
from tests.support.sessions import joined

USERS = "users: [{username: ada, password: s3cret}]"
TLS = f"tls: {{certFile: {ROOT}/tests/data/tls/cert.pem, keyFile: {ROOT}/tests/data/tls/key.pem}}"


@pytest.mark.parametrize("workers", ["", "workers: 2\n"], ids=["alone", "workers"])
def test_who_logs_in_below_a_prefix_sees_hosts_come_in_every_view(
    opens: Opens, tmp_path: Path, workers: str
) -> None:
    hub_port, page_port = free_port(), free_port()
    text = example("server.yml").replace(":8443", f"127.0.0.1:{hub_port}")
    api = f"api: {{addr: '127.0.0.1:{page_port}', pathPrefix: /gost, {USERS}, {TLS}}}\n"
    (tmp_path / "hub.yml").write_text(workers + text + api)
    hub = Process((*TUNROUTER, "-C", str(tmp_path / "hub.yml")), tmp_path / "hub.log")
    with ExitStack() as stack:
        stack.callback(hub.stop)
        hub.wait_line("web API on")
        url = f"https://127.0.0.1:{page_port}/gost/"
        tab = opens(url)
        tab.type("[name=user]", "ada")
        tab.type("[name=password]", "s3cret")
        tab.press("Enter")
        tab.says("No host has come yet.")
        tab.wait("document.getElementById('live').textContent === 'live'")
        stack.enter_context(joined(("127.0.0.1", hub_port), Request("host-1", "192.168.123.1"))[0])
        tab.says("host-1")
        for view, there in (
            ("map", "document.querySelector('.picture .node')"),
            ("routes", "document.querySelector('.rows .tr')"),
            ("drops", "document.querySelector('.all-drops section')"),
            ("config", "document.querySelector('pre.text')"),
        ):
            tab.go(f"{url}#/{view}")
            tab.wait(there)
        tab.go("about:blank")
        tab.go(f"{url}#/hosts")  # the cookie is the prefix's
        tab.says("host-1")
        tab.click("button", "Log out")
        tab.says("Password")
