"""The Grafana dashboard asks for metrics that there are, in units that people read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.netns import ROOT
from tests.support.seen import hub_of, seen_of

DASHBOARD: dict[str, Any] = json.loads((ROOT / "packaging/grafana/tunrouter.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\b(?:tunrouter|gost|process|python)_[a-z_]+")


def queries() -> Iterator[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def exposed() -> set[str]:
    """Every name that is exposed, a histogram's with its parts."""
    from lib import metrics

    text = b"".join(metrics.exposition(seen_of(hub_of(1)))).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    parts = {
        f"{name}{part}"
        for name, kind in kinds.items()
        if kind == "histogram"
        for part in ("_bucket", "_sum", "_count")
    }
    return set(kinds) | parts


def test_every_metric_of_a_query_is_exposed() -> None:
    used = {name for query in queries() for name in NAME.findall(query)}
    assert len(used) > 25
    assert used <= exposed()


def test_every_metric_of_ours_by_host_is_shown() -> None:
    from lib.metrics_names import BY_HOST

    used = {name.removesuffix("_total") for query in queries() for name in NAME.findall(query)}
    assert {family.name for family in BY_HOST.values()} <= used


def test_every_panel_has_a_title_a_unit_and_the_data_source_of_the_variable() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source["uid"] == "${datasource}" for source in sources), panel["title"]


def test_bytes_are_shown_as_bits_a_second_and_counters_as_rates() -> None:
    for query in queries():
        for name in NAME.findall(query):
            if name.endswith(("_total", "_bucket")) and not query.startswith("label_values"):
                assert re.search(rf"(?:rate|increase)\({name}", query), query
        if "_bytes_total" in query:
            assert query.startswith(("8 * ", "topk(20, 8 * ")), query


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_variables_for_service_namespace_and_host() -> None:
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "job", "service", "namespace", "host"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
