"""Logs: fields that stay, repeats folded, one line a line, and a log that cannot be written costs its lines."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import hub_log, log_setup
from lib.errors import HostError
from lib.forward_drop_reasons import Reason
from lib.limits import stranger
from lib.log_dedup import BUSY, FLOOD, OUTAGE
from lib.log_events import FOLDED, Entry
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable
from tests.support.lib_trees import lib_trees

ROOT = Path(__file__).resolve().parents[2]
COMMON = ("time", "level", "event", "msg")
"""What every JSON line has (PROTOCOL.md)."""
BESIDE = {"fold", "by", "habit"}
"""Keywords of say() that are no fields."""


@pytest.fixture
def log_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that is logged to, as JSON."""
    before = list(log_setup.log.handlers), log_setup.log.level, log_setup.log.propagate
    path = tmp_path / "some.log"
    log_setup.setup("debug", "json", str(path))
    yield path
    log_setup.finish()
    log_setup.flush()
    for handler in log_setup.log.handlers:
        if isinstance(handler, log_setup.Handler) and handler.file is not None:
            handler.output.retire()
    log_setup.log.handlers[:], log_setup.log.level, log_setup.log.propagate = before


def text_of(path: Path) -> str:
    """What has been logged to a file so far."""
    log_setup.flush()
    return path.read_text()


def lines(path: Path) -> list[dict[str, object]]:
    log_setup.flush()
    return [json.loads(line) for line in path.read_text().splitlines()]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of say() in lib/."""
    for file, tree in lib_trees("say("):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                yield f"{file.name}:{node.lineno}", node


def said() -> dict[str, list[tuple[str, set[str]]]]:
    """Entry -> where it is said, and with which fields."""
    found: dict[str, list[tuple[str, set[str]]]] = {}
    for where, call in calls():
        entry = call.args[0]
        if where.startswith("log_setup.py") and isinstance(entry, ast.Name):
            continue  # say_problem: its fields are those of the CONFIG entries
        assert isinstance(entry, ast.Attribute), f"{where}: say() without a literal Entry"
        keywords = {keyword.arg for keyword in call.keywords}
        assert None not in keywords, f"{where}: fields that cannot be read here"
        found.setdefault(entry.attr, []).append((where, {str(name) for name in keywords} - BESIDE))
    return found


def test_every_entry_is_said_with_exactly_its_fields() -> None:
    found = said()
    configuration = {"CONFIG_WARNING", "CONFIG_NOTICE"}
    assert set(found) | configuration == set(Entry.__members__)
    wrong = {
        where: fields ^ Entry[name].fields
        for name, places in found.items()
        for where, fields in places
        if fields != Entry[name].fields
    }
    assert not wrong


def test_nobody_logs_by_another_way() -> None:
    past = re.compile(r"\blog(?:ging)?\.(?:debug|info|warning|error|exception|critical|log)\(")
    files = [file for file in (ROOT / "lib").glob("*.py") if file.stem != "log_setup"]
    assert not [file.name for file in files if past.search(file.read_text())]


def test_no_field_has_a_name_that_every_line_has() -> None:
    assert not [entry for entry in Entry if entry.fields & {*COMMON, *FOLDED, "name", "args"}]
    assert {entry.level for entry in Entry} <= set(log_setup.LEVELS)


def test_the_table_of_events_is_that_of_the_code() -> None:
    table = (ROOT / "PROTOCOL.md").read_text()
    rows = {
        found[1]: (found[2], frozenset(found[3].replace("`", "").split()), found[4])
        for found in re.finditer(r"^\| `([a-z-]+)` \| (\w+) \| ([a-z_` ]*) \| (.*) \|$", table, re.MULTILINE)
    }
    assert rows == {entry.value: (entry.level, entry.fields, entry.doc) for entry in Entry}


def test_a_line_has_the_common_keys_then_its_fields(log_of: Path) -> None:
    log_setup.say(Entry.LISTENING, "service %s: listening on %s", "a", ":1", service="a", address=":1")
    (line,) = lines(log_of)
    assert tuple(line)[:4] == COMMON
    assert (line["level"], line["event"], line["msg"]) == ("info", "listening", "service a: listening on :1")
    assert set(line) - set(COMMON) == Entry.LISTENING.fields
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)", str(line["time"]))


def refuse(number: int) -> None:
    log_setup.say(
        Entry.REFUSED, "peer %d", number, fold="late", service="s", peer=number, reason="late", detail="x"
    )


def test_repeats_are_counted_and_said_at_the_end(log_of: Path) -> None:
    for number in range(40):
        refuse(number)
    assert len(lines(log_of)) == FLOOD.in_full
    log_setup.finish()
    last = lines(log_of)[-1]
    assert re.fullmatch(rf"peer 39 \({40 - FLOOD.in_full} more times in \d+ s\)", str(last["msg"]))
    assert (last["repeated"], last["peer"]) == (40 - FLOOD.in_full, 39)
    assert set(last) == {*COMMON, *FOLDED, *Entry.REFUSED.fields}


def test_many_joins_of_one_client_are_a_few_lines_and_a_number(log_of: Path) -> None:
    """2,900 a second, and what others do meanwhile is said."""

    def join(host: str, peer: str) -> None:
        log_setup.say(
            Entry.SESSION_OPENED, "%s is host %s", peer, host, fold="s", by=stranger(peer), habit=BUSY,
            service="s", host=host, namespace="", peer=peer, transport="tcp",
        )  # fmt: skip

    for number in range(29_000):
        join(f"odd-{number}", f"192.0.2.1:{number}")
    join("host-1", "192.0.2.2:1")
    log_setup.finish()
    found = lines(log_of)
    assert [line["host"] for line in found[: BUSY.in_full]] == [f"odd-{n}" for n in range(BUSY.in_full)]
    assert [line["host"] for line in found[BUSY.in_full :]] == ["host-1", "odd-28999"]
    assert found[-1]["repeated"] == 29_000 - BUSY.in_full


def keywords(call: ast.Call) -> dict[str, str]:
    return {str(keyword.arg): ast.unparse(keyword.value) for keyword in call.keywords}


def test_nothing_is_folded_by_what_a_stranger_chose() -> None:
    """`fold` is put together of names of ours: whatever else is wanted there needs a line here, and a thought."""
    ours = {
        *(
            "name",
            "self.settings.name",
            "self.hub.settings.name",
            "client.settings.name",
            "self._client.settings.name",
            "settings.name",
            "self._label",
            "self.name",
            "self.place",
        ),
        *("self.label", "refusal.value", "reason.value", "mistake.value", "source_read.describe(source)"),
    }
    local = {"client_tries.py": {"fold"}, "source_feed.py": {"name"}, "stream_certificates.py": {"file"}}
    local["stream_options.py"] = {"service"}  # of ours, as those that pass it on have it
    local["notify_delivery.py"] = {"fold"}  # its own name and one of three words
    local["observe_delivery.py"] = {"fold"}  # its own name and one of two words
    local["cluster_sd.py"] = {"name", "self._settings.sd.name"}  # of a section of the configuration
    local["cluster_redis.py"] = {"outcome.name"}  # one of a few words
    local["push_sharing.py"] = {"router", "registry", "name"}  # of the configuration
    local["cluster_trust.py"] = {"file"}  # of the configuration
    local["cluster_links.py"] = {"link.name"}  # of a hub that has shown the cluster's secret
    local["datagram_port.py"] = {"service"}  # of the settings, or this hub as one of a cluster
    local["worker_crew.py"] = {"worker.name"}  # its number
    local["client_names_files.py"] = {"path"}  # of two files of this host
    local["service_http.py"] = {"server"}  # one of two words
    local["service_hooks.py"] = {"one.name", "phase"}
    for where, call in calls():
        found = keywords(call)
        if "fold" not in found:
            continue
        file = where.partition(":")[0]
        tree = ast.parse(found["fold"], mode="eval").body
        parts = [part.value for part in tree.values if isinstance(part, ast.FormattedValue)] if isinstance(
            tree, ast.JoinedStr
        ) else [tree]  # fmt: skip
        parts = [part for part in parts if not isinstance(part, ast.Constant)]
        assert {ast.unparse(part) for part in parts} <= ours | local.get(file, set()), where


def test_what_peers_can_repeat_is_folded() -> None:
    """Everything with the address of a peer among its fields."""
    once = {"CONNECTED", "API_CHANGE"}  # a client's own doing, after a pause that grows; of who has a login
    for where, call in calls():
        found = keywords(call)
        if "peer" in found and ast.unparse(call.args[0]).removeprefix("Entry.") not in once:
            assert "fold" in found, where


def test_an_outage_is_said_once_until_it_is_over(log_of: Path) -> None:
    def fail() -> None:
        log_setup.say(
            Entry.SOURCE_FAILED, "no", fold="a", habit=OUTAGE, table="t", source="s", reason="r"
        )  # fmt: skip

    for _ in range(9):
        fail()
    log_setup.settle(Entry.SOURCE_FAILED, "a")
    fail()
    assert [line.get("repeated") for line in lines(log_of)] == [None, 8, None]


def test_what_a_peer_says_does_not_break_a_line(log_of: Path) -> None:
    evil = 'x\n{"level": "error"}\r\x1b[2J\u2028\udc80'
    for style in ("json", "text"):
        log_setup.setup("info", style, str(log_of))
        log_setup.say(
            Entry.SESSION_OPENED, "%s", evil, service="s", host=evil, namespace="", peer="", transport="tcp"
        )
    log_setup.flush()
    as_json, as_text = log_of.read_bytes().decode().splitlines()
    assert json.loads(as_json)["host"] == evil.replace("\udc80", "\\udc80")
    assert as_text.endswith('x\\x0a{"level": "error"}\\x0d\\x1b[2J\\u2028\\udc80')


def test_a_secret_in_a_text_or_a_field_is_hidden(log_of: Path) -> None:
    url = "http://one:s3cret@h/?token=s3cret"
    log_setup.say(Entry.SOURCE_FAILED, "%s", url, table="t", source=url, reason=OSError(url))
    assert "s3cret" not in text_of(log_of)
    assert lines(log_of)[0]["source"] == "http://***@h/?token=***"


def test_one_multicast_is_no_warning(log_of: Path) -> None:
    """A GOST client's device sends some as soon as it is up."""
    client = Attachment(Namespace(bytes(16), RouteTable(()), RouteTable(())), "host-1", "192.0.2.1:5000")
    for reason in Reason:
        hub_log.drops("service-0", client, reason, "")
    log_setup.finish()
    levels = {line["reason"]: line["level"] for line in lines(log_of) if line["event"] != "advice"}
    harmless = {"multicast", "link-local"}
    assert levels == {reason.value: "debug" if reason.value in harmless else "warning" for reason in Reason}


def test_what_is_below_the_level_costs_nothing_and_says_nothing(log_of: Path) -> None:
    log_setup.setup("warn", "json", str(log_of))
    assert not log_setup.is_on(Entry.LISTENING)
    log_setup.say(Entry.LISTENING, "%d", "no number: never formatted", service="", address="")
    assert text_of(log_of) == ""


def test_another_log_is_opened_before_the_old_one_is_closed(log_of: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="Is a directory"):
        log_setup.setup("info", "text", str(tmp_path))
    log_setup.say(Entry.LISTENING, "still here", service="", address="")
    assert "still here" in text_of(log_of)
    assert isinstance(log_setup.log.handlers[0], log_setup.Handler)


def test_lost_lines_are_said_where_they_are_missing(log_of: Path) -> None:
    def take(number: int) -> None:
        log_setup.say(Entry.LISTENING, "line %d", number, service="", address="")

    handler = log_setup.log.handlers[0]
    assert isinstance(handler, log_setup.Handler)
    take(1)
    handler.output.lost += 1234  # as while nobody reads
    take(2)
    one, lost, two = lines(log_of)
    assert (one["msg"], two["msg"]) == ("line 1", "line 2")
    assert lost["msg"] == f"1,234 lines of {log_of} lost: the file did not take them in time"
    assert (lost["event"], lost["level"], lost["lines"]) == ("lines-lost", "error", 1234)


def test_what_writes_to_standard_error_by_itself_waits_for_nobody() -> None:
    """A traceback of gevent, a library's warning: nobody reads, and the process ends in time."""
    program = (
        "from lib import log_setup; import sys; log_setup.guard()\n"
        "for number in range(20_000): print('x' * 100, number, file=sys.stderr)\n"
        "print('done', flush=True)"
    )
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=writing, timeout=30
        )
        assert (done.returncode, done.stdout) == (0, b"done\n")
        assert os.read(reading, 200).startswith(b"x" * 100 + b" 0\n")
    finally:
        os.close(reading)
        os.close(writing)


def test_a_full_disk_is_said_once(log_of: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_setup.setup("info", "text", "/dev/full")
    for _ in range(3):
        log_setup.say(Entry.LISTENING, "something", service="", address="")
        log_setup.flush()
    said_of_it = capsys.readouterr().err
    assert said_of_it.count("the log cannot be written") == 1
    assert "No space left on device" in said_of_it
    assert "Traceback" not in said_of_it
    assert logging.lastResort is not None
