"""Metrics: what Prometheus reads is what there is, with bounded rows, in steps that hold up nobody."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lib import metrics, metrics_names
from lib.metrics_names import BY_CLIENT, BY_HOST, DURATION, GOST, MEMORY, REFUSED, TABLE, UNNAMED, WAIT
from tests.support.netns import ROOT
from tests.support.seen import attachment_of, hub_of, seen_of

OURS = [
    *BY_HOST.values(),
    *metrics_names.BY_HUB.values(),
    *metrics_names.CLUSTER.values(),
    *BY_CLIENT.values(),
    *TABLE.values(),
    WAIT,
    REFUSED,
    UNNAMED,
    MEMORY,
]
THEIRS = [
    "gost_services",
    "gost_service_requests_total",
    "gost_service_requests_in_flight",
    "gost_service_transfer_input_bytes_total",
    "gost_service_transfer_output_bytes_total",
    "gost_service_handler_errors_total",
    "gost_service_request_duration_seconds",
    "gost_chain_errors_total",
]
"""The names that GOST's users scrape already."""


def text_of(hub: Any) -> str:
    return b"".join(metrics.exposition(seen_of(hub))).decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    return sum(
        value
        for (found, pairs), value in samples(text).items()
        if found == name and labels.items() <= dict(pairs).items()
    )


def test_gost_s_names_are_there_with_its_labels() -> None:
    text = text_of(hub_of(1))
    for name in THEIRS:
        assert re.search(rf"^# HELP {name} \w", text, re.MULTILINE), name
        assert re.search(rf"^# TYPE {name} \w", text, re.MULTILINE), name
    labels = {family.name: family.labels for family in (*GOST.values(), DURATION)}
    assert labels.pop("gost_services") == ("host",)
    assert labels.pop("gost_service_request_duration_seconds") == ("host", "service")
    assert labels.pop("gost_chain_errors") == ("host", "chain", "node")
    assert set(labels.values()) == {("host", "service", "client")}


def test_every_metric_has_help_and_type_even_without_a_row() -> None:
    text = text_of(hub_of(0))
    for family in OURS:
        name = family.name + ("_total" if family.kind == "counter" else "")
        assert f"# HELP {name} {family.doc}\n# TYPE {name} {family.kind}\n" in text


def test_values_by_host() -> None:
    text = text_of(hub_of(2))
    host = {"service": "service-0", "namespace": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "host": "host-1"}
    expected = {
        "tunrouter_sessions": 1,
        "tunrouter_sessions_opened_total": 1,
        "tunrouter_session_rtt_seconds": 0.01,
        "tunrouter_queue_bytes": 7,
        "tunrouter_received_bytes_total": 1000,
        "tunrouter_sent_packets_total": 20,
        "tunrouter_queue_runs_total": 4,
        "tunrouter_queue_wait_seconds_total": 0.5,
        "tunrouter_marked_packets_total": 6,
    }
    assert {name: of(text, name, **host) for name in expected} == expected
    assert of(text, "tunrouter_datagram_sessions", **host) == 0
    assert of(text, "tunrouter_silent_sessions", **host) == 0
    assert (
        f'tunrouter_datagram_loss_ratio{{service="service-0",namespace="{host["namespace"]}",host="host-1"}}'
        not in text
    )
    host["host"] = "host-0"  # the one that has a datagram channel
    expected = {
        "tunrouter_datagram_sessions": 1,
        "tunrouter_silent_sessions": 1,
        "tunrouter_datagram_rtt_seconds": 0.02,
        "tunrouter_datagram_loss_ratio": 0.015,
    }
    assert {name: of(text, name, **host) for name in expected} == expected
    assert of(text, "tunrouter_dropped_packets_total", reason="no-route", **host) == 3
    assert of(text, "tunrouter_refused_connections_total", reason="late") == 2
    assert of(text, "gost_service_transfer_input_bytes_total", client="10.0.0.0") == 2000
    assert of(text, "gost_services") == 1


def test_hosts_beyond_the_bound_are_one_row_and_no_byte_is_lost() -> None:
    text = text_of(hub_of(30, addresses=30, most=10))
    rows = [pairs for (name, pairs), _ in samples(text).items() if name == "tunrouter_sessions"]
    assert len(rows) == 11
    assert of(text, "tunrouter_sessions", host="other", namespace="other") == 20
    assert of(text, "tunrouter_received_bytes_total") == 30_000
    assert of(text, "gost_service_transfer_input_bytes_total", client="other") == 20_000


def test_counters_stay_when_sessions_end() -> None:
    hub = hub_of(3)
    before = of(text_of(hub), "tunrouter_sent_bytes_total")
    for session in hub.sessions.values():
        for key in ((session.attachment.namespace.id, session.attachment.host),):
            hub.by_host.book(key).leave(session.attachment)
    hub.sessions.clear()
    text = text_of(hub)
    assert of(text, "tunrouter_sent_bytes_total") == before == 6000
    assert of(text, "tunrouter_sessions") == 0


@pytest.mark.parametrize("host", ['a"b', "a\\b", "two\nlines", "ümlaut", "\udc80", 'x"} 1\n# EOF'])
def test_a_host_s_name_breaks_nothing(host: str) -> None:
    hub = hub_of(0)
    attachment = attachment_of(hub.domain, host)
    hub.by_host.book((attachment.namespace.id, host)).enter(attachment)
    text = text_of(hub)
    names = {dict(pairs)["host"] for (name, pairs) in samples(text) if name == "tunrouter_sessions"}
    assert len(names) == 1
    assert of(text, "tunrouter_sent_bytes_total") == 2000


def test_names_that_differ_in_an_escape_are_two_series() -> None:
    hub = hub_of(0)
    hosts = ["a\u202eb", "a\\u202eb", "a\\x5cu202eb", "a\\\\u202eb", "a\u200b", "a"]
    for host in hosts:
        attachment = attachment_of(hub.domain, host)
        hub.by_host.book((attachment.namespace.id, host)).enter(attachment)
    rows = [pairs for (name, pairs) in samples(text_of(hub)) if name == "tunrouter_sessions"]
    assert len(set(rows)) == len(hosts)


def test_the_library_reads_and_writes_the_same_rows() -> None:
    """Rows are put into text here: as the library would."""
    from prometheus_client import generate_latest

    class All:
        def collect(self) -> Any:
            return text_string_to_metric_families(text)

    text = text_of(hub_of(3))
    assert samples(generate_latest(All()).decode()) == samples(text)


def test_queue_waits_are_a_histogram() -> None:
    hub = hub_of(0)
    for seconds in (0.0001, 0.03, 7.0):
        hub.budget.waits.observe(seconds)
    text = text_of(hub)
    bucket = "tunrouter_queue_seconds_bucket"
    assert [of(text, bucket, le=le) for le in ("0.0005", "0.02", "0.05", "+Inf")] == [1, 1, 2, 3]
    assert of(text, "tunrouter_queue_seconds_sum") == pytest.approx(7.0301)


def test_promtool_has_nothing_to_complain_of() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not installed: make tools-test"
    hub = hub_of(3)
    hub.durations.observe(3.0)
    done = subprocess.run([promtool, "check", "metrics"], input=text_of(hub), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_thousand_hosts_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two turns of the packets little of the CPU's time passes (what others take of it is not ours)."""
    seen = seen_of(hub_of(1000, addresses=1000))
    steps: list[float] = []
    since = 0.0

    def turn() -> None:
        nonlocal since
        steps.append(time.thread_time() - since)
        since = time.thread_time()

    monkeypatch.setattr(metrics, "breathe", turn)
    gc.collect()
    gc.freeze()  # as the program does at its start: pytest's own objects are not the hub's
    since = began = time.thread_time()
    size = sum(map(len, metrics.exposition(seen)))
    whole = time.thread_time() - began
    assert size > 1_000_000
    assert whole < 0.3
    assert len(steps) > 10
    assert max(steps) < 0.010


def test_the_table_in_the_page_is_that_of_the_code() -> None:
    page = (ROOT / "packaging" / "docs" / "watching.md").read_text()
    families = [*GOST.values(), DURATION, *OURS, *metrics_names.WORKER.values()]
    names = {family.name + ("_total" if family.kind == "counter" else "") for family in families}
    missing = {name for name in names if f"`{name}`" not in page}
    assert not missing
    assert str(metrics_names.MAX_KEYS) in page.replace(",", "")
