"""What metrics say of real tables: rows, and each source's age and failures."""

from __future__ import annotations

import re
from pathlib import Path

from lib import config_read, config_resolve, metrics
from lib.hub_tables import Tables
from lib.metrics import Seen


def exposed(tables: Tables) -> dict[str, float]:
    """A metric's name and labels -> its value."""
    text = b"".join(metrics.exposition(Seen({}, {}, tables))).decode()
    rows = re.findall(r"^(tunrouter_(?:source|routes|rules)\w*\{.*\}) (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in rows}


def test_rows_and_sources(tmp_path: Path) -> None:
    there, missing = tmp_path / "routes", tmp_path / "missing"
    there.write_text("10.1.0.0/16 a\n10.2.0.0/16 b\n")
    text = f"""
    services: [{{name: h, addr: ':1', handler: {{type: router, auther: x, metadata: {{router: r}}}}}}]
    routers:
    - {{name: r, routes: [{{dst: 10.0.0.0/8, gateway: a}}], file: {{path: {there}}}}}
    - {{name: s, file: {{path: {missing}}}}}
    authers: [{{name: x, auths: [{{username: u, password: p}}, {{username: v, password: p}}]}}]
    """
    tables = Tables(config_resolve.resolve(config_read.read([("f", text)])))
    try:
        tables.start()
        assert tables.wait_loaded(5.0)
        found = exposed(tables)
    finally:
        tables.stop()
    of_there, of_missing = (
        f'{{table="router {name}",source="{path}"}}' for name, path in (("r", there), ("s", missing))
    )
    assert found['tunrouter_routes{router="r"}'] == 3
    assert found['tunrouter_routes{router="s"}'] == 0
    assert found['tunrouter_rules{kind="auther",name="x"}'] == 2
    assert found[f"tunrouter_source_up{of_there}"] == 1
    assert 0 <= found[f"tunrouter_source_age_seconds{of_there}"] < 5
    assert found[f"tunrouter_source_failures_total{of_there}"] == 0
    assert found[f"tunrouter_source_up{of_missing}"] == 0
    assert f"tunrouter_source_age_seconds{of_missing}" not in found
    assert found[f"tunrouter_source_failures_total{of_missing}"] == 1
