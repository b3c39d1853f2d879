"""resolv.conf with and without the block of a server of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.dns_resolv_conf import add, blocks, is_set, plain, remove, servers

OURS, THEIRS = "127.0.117.1", "127.0.117.2"
TEXT = (
    "# by hand\nsearch lan.example\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions ndots:2 rotate\n"
)
NAMES = ["tun.example"]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "",
        None,
        "nameserver 192.0.2.53",
        "options rotate\n",
        "\xff\r\nnameserver\n",
        TEXT.replace("\n", "\r\n"),
    ],
)
def test_without_the_block_the_file_is_what_it_was(text: str | None, alone: bool) -> None:
    changed = add(text, OURS, NAMES, alone)
    assert is_set(changed, OURS, alone)
    assert not is_set(text, OURS, alone)
    assert blocks(changed) == [OURS]
    assert remove(changed, OURS) == text
    assert plain(changed) == (text or "")
    assert add(changed, OURS, NAMES, alone) == changed


def told(text: str) -> list[str]:
    """The lines that the C library reads."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_ours_is_asked_first_and_the_others_after_it() -> None:
    assert told(add(TEXT, OURS, NAMES)) == [
        f"nameserver {OURS}",
        "options ndots:2",
        "search lan.example",
        "nameserver 192.0.2.53",
        "nameserver fe80::1%eth0",
    ]
    assert told(add(None, OURS, NAMES)) == [f"nameserver {OURS}", "nameserver 127.0.0.1"]


def test_a_c_library_that_asks_all_at_once_is_told_of_ours_alone() -> None:
    changed = add(TEXT, OURS, NAMES, alone=True)
    assert [line for line in told(changed) if line.startswith("nameserver")] == [f"nameserver {OURS}"]
    assert servers(changed, OURS).addresses == ("192.0.2.53", "fe80::1%eth0")


def test_whom_the_others_are() -> None:
    for text in (TEXT, add(TEXT, OURS, NAMES)):
        found = servers(text, OURS)
        assert (found.addresses, found.rotate) == (("192.0.2.53", "fe80::1%eth0"), True)
    assert servers(None, OURS).addresses == ("127.0.0.1",)
    assert servers(f"nameserver {OURS}\n", OURS).addresses == ("127.0.0.1",), "it never asks itself"


def test_two_processes_ask_each_other_in_one_direction_only() -> None:
    one = add(TEXT, OURS, NAMES)
    both = add(one, THEIRS, ["other.example"])
    assert servers(both, THEIRS).addresses[0] == OURS
    assert THEIRS not in servers(both, OURS).addresses
    assert is_set(both, OURS)
    assert is_set(both, THEIRS)
    for first, second in ((OURS, THEIRS), (THEIRS, OURS)):
        left = remove(both, first)
        assert left is not None
        assert blocks(left) == [second]
        assert remove(left, second) == TEXT
    assert plain(both) == TEXT


def test_what_others_add_stays() -> None:
    changed = add(None, OURS, NAMES) + "nameserver 192.0.2.9\n"
    assert remove(changed, OURS) == "nameserver 192.0.2.9\n"
    above = "nameserver 192.0.2.9\n" + add(TEXT, OURS, NAMES)
    assert not is_set(above, OURS), "that one would be asked first"
    assert remove(above, OURS) == "nameserver 192.0.2.9\n" + TEXT


def test_a_block_that_somebody_has_cut_loses_only_what_is_ours() -> None:
    cut = add(TEXT, OURS, NAMES).replace(f"# tunrouter: end {OURS}\n", "")
    left = remove(cut, OURS)
    assert left is not None
    assert f"nameserver {OURS}" not in left
    assert "nameserver 192.0.2.53" in left
    assert blocks(left) == []


@given(st.text(alphabet="#name srvtoi.127:\n\r", max_size=120), st.booleans())
def test_any_text_comes_back(text: str, alone: bool) -> None:
    if blocks(text) or "#tunrouter#" in text:
        return
    assert remove(add(text, OURS, NAMES, alone), OURS) == text
