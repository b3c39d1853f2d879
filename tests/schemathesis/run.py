"""The web API below /x/ against its own OpenAPI document, by schemathesis: `make api-check`.

    .venv/bin/python tests/schemathesis/run.py [--examples 30] [options of `schemathesis run`]

It starts a hub with a web API on loopback, and asks for everything that the document has, right and wrong: each
answer must have a status, a type and a form that the document names, and none may be an error of ours (5xx).
Streams have no end, so they are left out; tests/unit/test_api_x_document.py asks for them what they refuse.

What it asks is the same in each run; `--examples` is for who looks for more.

Exit status: that of schemathesis; 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGIN = "ada:s3cret"
STREAMS = "^/x/(events|trace|capture)$"
LEFT_OUT = "unsupported_method,positive_data_acceptance"
"""GOST's API answers 404 to a method that it does not know, and so does all of ours. And many texts have a form
that no schema tells: filters, prefixes, cursors, titles of namespaces."""
CHECKS = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429]
"""
"""With 414: an address that is too long is refused before anybody looks at its parameters."""
CONFIG = """
services:
- name: hub
  addr: 127.0.0.1:{hub}
  handler: {{type: router, metadata: {{router: r, enrol: {place}/hosts.json}}}}
  listener: {{type: tls, tls: {{certFile: {root}/tests/data/tls/cert.pem, keyFile: {root}/tests/data/tls/key.pem}}}}
routers:
- name: r
  routes: [{{dst: 10.0.0.0/24, gateway: a}}, {{dst: 10.0.1.0/24, gateway: b}}]
api: {{addr: "127.0.0.1:{api}", auth: {{username: ada, password: s3cret}}}}
"""


def free_port() -> int:
    """A port of TCP that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def fetched(url: str) -> bytes:
    """What is at a URL, with the login; waits until somebody listens there."""
    login = base64.b64encode(LOGIN.encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                found: bytes = reply.read()
                return found
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=30, help="for each endpoint; default 30")
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("schemathesis")))
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        hub, api = free_port(), free_port()
        config = Path(place) / "hub.yml"
        config.write_text(CONFIG.format(hub=hub, api=api, place=place, root=ROOT))
        command = [sys.executable, str(ROOT / "tunrouter.py"), "-C", str(config), "--control", "none"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
            try:
                url = f"http://127.0.0.1:{api}"
                document = Path(place) / "openapi.json"
                document.write_text(json.dumps(json.loads(fetched(f"{url}/x/openapi.json"))))
                (Path(place) / "schemathesis.toml").write_text(CHECKS)
                options = ["--url", url, "--auth", LOGIN, "--exclude-path-regex", STREAMS]
                options += ["--exclude-checks", LEFT_OUT, "--max-examples", str(arguments.examples)]
                options += ["--suppress-health-check", "all", "--generation-deterministic", *more]
                done = subprocess.run(
                    [arguments.program, "run", str(document), *options], cwd=place, check=False
                )
                json.loads(fetched(f"{url}/x/hosts"))  # it still answers
                return done.returncode
            finally:
                running.kill()


if __name__ == "__main__":
    sys.exit(main())
