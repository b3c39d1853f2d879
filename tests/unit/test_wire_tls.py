"""Hellos of real OpenSSL handshakes: which versions they hold, whole, cut off and changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.wire_tls import TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3, names, version_chosen, versions_offered

ALL = (TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3)
RANDOM = bytes(32)


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + len(content).to_bytes(2) + content


def record(kind: int, body: bytes, piece: int = 1 << 14) -> bytes:
    whole = bytes([kind]) + len(body).to_bytes(3) + body
    pieces = [whole[at : at + piece] for at in range(0, len(whole), piece)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in pieces)


def client(legacy: int, versions: bytes | None, piece: int = 1 << 14) -> bytes:
    extensions = extension(0, b"name") + extension(51, bytes(1216))  # a key share for a post-quantum group
    if versions is not None:
        extensions += extension(43, bytes([len(versions)]) + versions)
    middle = b"\x20" + bytes(32) + b"\x00\x04\x13\x01\xc0\x2f" + b"\x01\x00"
    body = legacy.to_bytes(2) + RANDOM + middle + len(extensions).to_bytes(2) + extensions
    return record(1, body, piece)


def server(legacy: int, chosen: bytes | None) -> bytes:
    body = legacy.to_bytes(2) + RANDOM + b"\x00" + b"\xc0\x2f\x00"
    if chosen is not None:
        extensions = extension(43, chosen)
        body += len(extensions).to_bytes(2) + extensions
    return record(2, body)


@pytest.mark.parametrize(
    ("data", "offered"),
    [
        pytest.param(client(0x0303, b"\x03\x04\x03\x03"), (TLS_1_2, TLS_1_3), id="1.2 and 1.3"),
        pytest.param(client(0x0303, b"\x03\x04"), (TLS_1_3,), id="1.3 only"),
        pytest.param(client(0x0303, b"\x7a\x7a\x03\x04\x7f\x1c"), (TLS_1_3,), id="with GREASE and a draft"),
        pytest.param(client(0x0303, None), (TLS_1_0, TLS_1_1, TLS_1_2), id="up to 1.2"),
        pytest.param(client(0x0301, None), (TLS_1_0,), id="1.0"),
        pytest.param(client(0x0300, None), (), id="SSL 3.0"),
        pytest.param(record(1, b"\x03\x01" + RANDOM + b"\x00\x00\x02\xc0\x2f\x01\x00"), (TLS_1_0,), id="no extensions"),
        pytest.param(client(0x0303, b"\x03\x04", piece=100), (TLS_1_3,), id="in many records"),
        pytest.param(server(0x0303, b"\x03\x04"), (), id="a server's"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x46", (), id="an alert"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", (), id="HTTP"),
        pytest.param(b"", (), id="nothing"),
    ],
)  # fmt: skip
def test_versions_offered(data: bytes, offered: tuple[int, ...]) -> None:
    assert versions_offered(data) == offered
    assert versions_offered(data + b"more") == offered
    assert versions_offered(data[:-1]) == ()


@pytest.mark.parametrize(
    ("data", "chosen"),
    [
        pytest.param(server(0x0303, b"\x03\x04"), TLS_1_3, id="1.3"),
        pytest.param(server(0x0303, None), TLS_1_2, id="1.2"),
        pytest.param(server(0x0301, None), TLS_1_0, id="1.0, as an OpenSSL of 2010 says"),
        pytest.param(client(0x0303, b"\x03\x04"), 0, id="a client's"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x46", 0, id="an alert"),
    ],
)
def test_version_chosen(data: bytes, chosen: int) -> None:
    assert version_chosen(data) == chosen
    assert version_chosen(data[:-1]) == 0


@pytest.mark.parametrize(
    ("versions", "text"),
    [(ALL, "up to 1.3"), ((TLS_1_2, TLS_1_3), "1.2 to 1.3"), ((TLS_1_3,), "1.3"), ((TLS_1_0,), "1.0"), ((), "none that is known here"), ((0x0300,), "none that is known here")],
)  # fmt: skip
def test_names(versions: tuple[int, ...], text: str) -> None:
    assert names(versions) == text


@given(st.sampled_from([client(0x0303, b"\x03\x04\x03\x03"), server(0x0303, b"\x03\x04")]), st.data())
def test_whatever_comes_gives_versions_or_none(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        changed[at] = draw.draw(st.integers(0, 255))
    cut = bytes(changed[: draw.draw(st.integers(0, len(changed)))])
    assert set(versions_offered(cut)) <= set(ALL)
    assert 0 <= version_chosen(cut) <= 0xFFFF
