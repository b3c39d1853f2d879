"""Metrics of several workers as one text: sums, what stands for all, and counters that never go backwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import metrics, metrics_names, worker_figures
from lib.metrics_names import Family
from lib.worker_figures import END, GAUGES, Figures, How, Sheet, labelled
from tests.support.seen import hub_of, seen_of
from tests.unit.test_metrics import of, samples


def sheet(*texts: str | bytes) -> Sheet:
    made = Sheet()
    for text in texts:
        made.read(text.encode() if isinstance(text, str) else text)
    return made


def block(name: str, kind: str, rows: str) -> str:
    return f"# HELP {name} Some words.\n# TYPE {name} {kind}\n{rows}"


def merged(figures: Figures, own: Sheet, told: dict[int, Sheet], alive: Iterable[int] = (1, 2, 3)) -> str:
    figures.take(told, set(alive))
    return b"".join(figures.text(own, told)).decode()


def families() -> Iterable[Family]:
    for value in vars(metrics_names).values():
        if isinstance(value, Family):
            yield value
        elif isinstance(value, dict):
            yield from (one for one in value.values() if isinstance(one, Family))


def test_every_gauge_is_in_the_table() -> None:
    """Each has to be thought about: a sum of round-trip times, or of ones, would say nothing."""
    named = {family.name for family in families() if family.kind == "gauge"}
    assert GAUGES.keys() - {"tunrouter_build_info"} == named
    text = b"".join(metrics.exposition(seen_of(hub_of(1))))
    found = sheet(text).metrics
    assert len(found) > 60
    of_each = {name for name, one in found.items() if one.how is How.EACH}
    assert {name.partition("_")[0] for name in of_each} == {"process", "python"}


@pytest.mark.parametrize(
    ("name", "kind", "labels", "wanted"),
    [
        ("tunrouter_sent_bytes_total", "counter", '{h="a"}', ['{h="a"} 7.0']),
        ("tunrouter_queue_seconds", "histogram", '_bucket{le="1"}', ['_bucket{le="1"} 7.0']),
        ("tunrouter_sessions", "gauge", '{h="a"}', ['{h="a"} 7.0']),
        ("tunrouter_session_rtt_seconds", "gauge", '{h="a"}', ['{h="a"} 5.0']),
        ("tunrouter_source_up", "gauge", '{h="a"}', ['{h="a"} 2.0']),
        ("process_open_fds", "gauge", "", ['{worker="1"} 2.0', '{worker="2"} 5.0']),
        ("python_gc_a_total", "counter", '{g="0"}', ['{g="0",worker="1"} 2.0', '{g="0",worker="2"} 5.0']),
        ("of_tomorrow", "gauge", "{}", ['{worker="1"} 2.0', '{worker="2"} 5.0']),
    ],
)
def test_how_two_values_become_one(name: str, kind: str, labels: str, wanted: list[str]) -> None:
    one, other = (block(name, kind, f"{name}{labels} {value}\n") for value in (2.0, 5.0))
    lines = merged(Figures(), Sheet(), {1: sheet(one), 2: sheet(other)}).splitlines()
    assert lines == [*one.splitlines()[:2], *(name + row for row in wanted)]


def test_a_host_s_name_with_a_space_or_a_brace_is_one_label() -> None:
    row = 'tunrouter_sessions{host="a } 3 # x"}'
    text = merged(Figures(), Sheet(), {1: sheet(block("tunrouter_sessions", "gauge", f"{row} 1.0\n"))})
    assert text.splitlines()[2:] == [f"{row} 1.0"]
    assert labelled(row.encode(), b'worker="1"') == row[:-1].encode() + b',worker="1"}'


def test_what_the_main_process_tells_is_summed_with_the_workers_rows() -> None:
    name = "tunrouter_refused_connections_total"
    own = sheet(block(name, "counter", ""), block(name, "counter", f'{name}{{reason="x"}} 3.0\n'))
    told = {1: sheet(block(name, "counter", f'{name}{{reason="x"}} 2.0\n{name}{{reason="y"}} 1.0\n'))}
    text = merged(Figures(), own, told)
    assert (of(text, name, reason="x"), of(text, name, reason="y")) == (5, 1)
    assert text.count("# TYPE") == 1


@given(st.lists(st.integers(1, 400), max_size=40))
def test_a_text_comes_in_pieces_of_any_size(sizes: list[int]) -> None:
    whole = TEXT
    pieces = []
    for size in sizes:
        pieces.append(whole[:size])
        whole = whole[size:]
    made = sheet(*pieces, whole)
    assert made.whole
    assert made.metrics == sheet(TEXT).metrics


TEXT = b"".join(metrics.exposition(seen_of(hub_of(1)))) + END


@pytest.mark.parametrize("text", ["no value\n", "a one\n", "# HELP\n", "\n", "\xff 1.x\n"])
def test_what_is_no_text_of_metrics(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        sheet(block("tunrouter_sessions", "gauge", ""), text)


def test_without_its_end_it_is_not_whole() -> None:
    assert not sheet(TEXT[:-3]).whole
    assert not sheet(TEXT[:-1]).whole


# --- counters never go backwards

NAME = "tunrouter_sent_bytes_total"


def counted(**hosts: float) -> Sheet:
    rows = "".join(f'{NAME}{{host="{host}"}} {value}\n' for host, value in hosts.items())
    return sheet(
        block(NAME, "counter", rows), block("tunrouter_sessions", "gauge", "tunrouter_sessions{} 1.0\n")
    )


def test_a_worker_that_does_not_answer_costs_its_gauges_and_no_counter() -> None:
    figures = Figures()
    assert of(merged(figures, Sheet(), {1: counted(a=5), 2: counted(a=1, b=7)}), NAME) == 13
    text = merged(figures, Sheet(), {1: counted(a=6)})
    assert (of(text, NAME, host="a"), of(text, NAME, host="b"), of(text, "tunrouter_sessions")) == (7, 7, 1)
    text = merged(figures, Sheet(), {1: counted(a=6), 2: counted(a=1, b=9)})
    assert (of(text, NAME), of(text, "tunrouter_sessions")) == (16, 2)


def test_what_a_worker_has_counted_stays_when_it_has_ended() -> None:
    """Else its successor's small counts would be a reset, and a rate would have all of the other's once more."""
    figures = Figures()
    merged(figures, Sheet(), {1: counted(a=5), 2: counted(a=100, b=7)}, alive=(1, 2))
    text = merged(figures, Sheet(), {1: counted(a=5), 3: counted(a=1)}, alive=(1, 3))
    assert (of(text, NAME, host="a"), of(text, NAME, host="b")) == (106, 7)
    text = merged(figures, Sheet(), {1: counted(a=5)}, alive=(1,))
    assert of(text, NAME, host="a") == 106
    text = merged(figures, Sheet(), {4: counted(a=2)}, alive=(4,))
    assert (of(text, NAME, host="a"), of(text, "tunrouter_sessions")) == (108, 1)


def test_one_that_ends_while_it_is_asked_is_counted_once() -> None:
    figures, own = Figures(), sheet(block(NAME, "counter", ""))
    assert of(merged(figures, own, {1: counted(a=5)}, alive=()), NAME) == 5
    assert of(merged(figures, own, {}, alive=()), NAME) == 5


@given(st.lists(st.tuples(st.sampled_from(["grow", "silent", "die"]), st.integers(0, 2), st.integers(0, 9))))
def test_whatever_becomes_of_workers_no_sum_gets_smaller(steps: list[tuple[str, int, int]]) -> None:
    """Three workers grow, say nothing, and die; what is told is between the last scrape's and the true sum."""
    figures = Figures()
    counts, keys, before, true = [0, 0, 0], [0, 1, 2], 0.0, 0
    for what, place, more in steps:
        silent = place if what == "silent" else -1
        if what == "grow":
            counts[place] += more
            true += more
        elif what == "die":
            counts[place], keys[place] = 0, max(keys) + 1
        told = {keys[n]: counted(a=counts[n]) for n in range(3) if n != silent}
        now = of(merged(figures, Sheet(), told, keys), NAME)
        assert before <= now == true or (silent >= 0 and before <= now <= true)
        before = now


def test_what_is_kept_of_the_dead_is_bounded_and_none_of_the_living_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_figures, "MAX_ENDED", 3)
    figures = Figures()
    merged(figures, Sheet(), {0: counted(old=5.0), 99: counted(old=1.0)}, alive=(99,))
    for number in range(1, 10):
        told = {number: counted(**{f"h{number}": 1.0}), 99: counted(old=1.0)}
        text = merged(figures, Sheet(), told, alive=(99,))
        assert of(text, NAME, host="old") == 6, "the oldest of all, but a living worker has it too"
    assert len(figures._ended[NAME]) == 3
    rows = {dict(pairs)["host"] for name, pairs in samples(text) if name == NAME}
    assert rows == {"old", "h8", "h9"}


def test_promtool_has_nothing_to_complain_of() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not installed: make tools-test"
    text = merged(Figures(), sheet(TEXT), {1: sheet(TEXT), 2: sheet(TEXT)})
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert of(text, "tunrouter_build_info") == 1
    assert of(text, "tunrouter_sent_bytes_total") == 3 * of(TEXT.decode(), "tunrouter_sent_bytes_total")
