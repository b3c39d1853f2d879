"""What a peer chose is seen for what it is, on a terminal, in a line of the log and as a metric's label."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cli_columns, cli_show, ctl_client, printable, wire_control
from lib.cli_paper import Paper
from lib.cli_table import lines
from tests.support import texts

SHOWN = [
    ("plain, with ümlauts and 日本", "plain, with ümlauts and 日本"),
    ("two\nlines\r", "two\\x0alines\\x0d"),
    ("\x1b[31mred\x07\x9b2J", "\\x1b[31mred\\x07\\x9b2J"),
    ("\x85\u2028\u202e\udcff", "\\x85\\u2028\\u202e\\udcff"),
    ("host\u200b-1\u200d\ufeff\u00ad", "host\\u200b-1\\u200d\\ufeff\\xad"),
    ("\u2066a\u2069\u061c", "\\u2066a\\u2069\\u061c"),
    ("a\u00a0b\u3000c\u2800", "a\\xa0b\\u3000c\\u2800"),
    ("\u3164\u115f\ufe0f\u034f", "\\u3164\\u115f\\ufe0f\\u034f"),
    ("tag\U000e0041 new\U000e01ef", "tag\\U000e0041 new\\U000e01ef"),
    ("e\u0301 a" + "\u0300" * 4, "e\u0301 a\u0300\u0300\\u0300\\u0300"),
    ("C:\\x1b", "C:\\x1b"),
]
EVIL = "\x1b]0;gone\x07\x1b[2J\x1b[Hevil\n\u202elive\u200b\x9b1m"


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_what_would_not_be_seen_is_written(text: str, shown: str) -> None:
    assert printable.printable(text) == shown
    assert printable.every({"a": [text, 1, None]}) == {"a": [shown, 1, None]}


@given(texts.from_json(50))
def test_a_line_of_seen_characters_that_can_be_written(text: str) -> None:
    shown = printable.printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode()
    assert printable.printable(shown) == shown


def decoded(text: str) -> str:
    """What exact() was given."""
    code = r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))"
    return re.sub(code, lambda found: chr(int(found[1] or found[2] or found[3], 16)), text)


ESCAPES = st.text(st.sampled_from(["\\", "x", "u", "1", "b", "5", "c", "\x1b", "\u202e", "U", "0", "2", "e"]))


@given(st.one_of(ESCAPES, texts.from_json()))
def test_exact_tells_every_two_texts_apart(text: str) -> None:
    assert decoded(printable.exact(text)) == text


def session(**fields: object) -> dict[str, object]:
    return {
        "service": "s", "host": "h", "namespace": cli_columns.NOBODY, "peer": "192.0.2.1:1", "address": "",
        "prefixes": [], "transport": "tcp", "software": "", "since_s": 1.0, "rtt_s": 0.0, "queue_bytes": 0,
        "queue_s": 0.0, "received_packets": 0, "received_bytes": 0, "sent_packets": 0, "sent_bytes": 0,
        "received_packets_per_s": 0.0, "received_bytes_per_s": 0, "sent_packets_per_s": 0.0,
        "sent_bytes_per_s": 0, "drops": {}, **fields,
    }  # fmt: skip


@pytest.mark.parametrize("field", ["host", "peer", "address", "software"])
def test_no_field_of_a_session_reaches_a_terminal_raw(field: str) -> None:
    assert all(
        line.isprintable() for line in lines(cli_columns.SESSIONS, [session(**{field: EVIL})], None, False)
    )


REPLIES = {
    "status": {
        "software": EVIL, "pid": 1, "user": EVIL, "control": EVIL, "only": {"host": EVIL, "ns": ""}, "uptime_s": 1.0, "sessions": [session(host=EVIL)], "clients": [], "tables": [],
        "hubs": [{"service": EVIL, "listen": EVIL, "transport": EVIL, "sessions": 1}], "refused": {EVIL: {EVIL: 1}},
    },
    "drops": {
        "drops": [
            {"namespace": "n", "host": EVIL, "peer": EVIL, "reason": "r", "count": 1, "about": EVIL, "remedy": EVIL,
             "last": {"packet": EVIL, "ago_s": 1.0}},
        ],
        "destinations": [{"namespace": "n", "destination": EVIL, "reasons": {EVIL: 1}, "last_s": 1.0}],
        "refusals": [
            {"service": EVIL, "reason": "x", "count": 1, "about": EVIL, "remedy": EVIL,
             "last": {"peer": EVIL, "why": EVIL, "ago_s": 1.0}},
        ],
    },
    "routes": {
        "tables": [{"table": EVIL, "service": EVIL, "kind": "routes", "routes": 1, "matching": 1}],
        "routes": [
            {"prefix": "10.0.0.0/8", "table": EVIL, "namespace": "n",
             "gateways": [{"host": EVIL, "metric": None, "fall_through": False, "live": True, "carries": True,
                           "source": EVIL}]},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("command", REPLIES)
def test_what_is_asked_is_printed_without_a_raw_character(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = json.loads(json.dumps(REPLIES[command]))
    monkeypatch.setattr(ctl_client, "ask", lambda path, request: reply)
    monkeypatch.setattr(cli_show, "paper", lambda most: Paper(None, False, most))
    flags = {
        "--control": "x",
        "--watch": False,
        "--json": False,
        "--all": False,
        "--cluster": False,
        "--ns": None,
        "--host": None,
        "PREFIX": None,
        "--service": None,
    }
    assert cli_show.show(command, flags) == 0
    shown = capsys.readouterr().out
    assert "\\x1b]0;gone\\x07" in shown
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("data", "software"),
    [
        (b"tunrouter 0.1.0", "tunrouter 0.1.0"),
        (EVIL.encode(), "?]0;gone??[2J?[Hevil????live?????1m"),
        (b"v" * 65, "v" * 64),
        ("\u00fc".encode() * 64, "?" * 64),
    ],
)
def test_the_software_field_is_64_printable_bytes(data: bytes, software: str) -> None:
    hello = wire_control.Hello(bytes(16))
    frame = wire_control.encode_hello(hello)
    field = bytes([wire_control.Field.SOFTWARE]) + len(data).to_bytes(2, "big") + data
    read = wire_control.decode(frame + field)  # of a repeated field the last counts
    assert isinstance(read, wire_control.Hello)
    assert read.software == software
