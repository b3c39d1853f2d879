"""Which name servers are reached around a tunnel."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.stream_name_servers import MOST, in_file, name_servers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 203.0.113.53\nnameserver 2001:db8::53\n", ["203.0.113.53", "2001:db8::53"]),
        ("# nameserver 203.0.113.1\n;nameserver 203.0.113.2\noptions timeout:1\n", []),
        ("nameserver\t203.0.113.53  # the provider's", ["203.0.113.53"]),
        ("nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n", []),
        ("nameserver fe80::1%eth0\nnameserver fe80::1\nnameserver nonsense\nnameserver\n", []),
        ("\ufeff\0nameserver 203.0.113.53", []),
    ],
)
def test_name_servers_of_a_file(text: str, expected: list[str]) -> None:
    assert in_file(text) == expected


def test_name_servers_behind_a_local_forwarder_count_too(tmp_path: Path) -> None:
    stub, behind = tmp_path / "resolv.conf", tmp_path / "behind"
    stub.write_text("nameserver 127.0.0.53\n")
    behind.write_bytes(b"nameserver 203.0.113.53\nnameserver 203.0.113.53\n# \xff\n")
    assert name_servers([str(stub), str(tmp_path / "none"), str(behind)]) == ["203.0.113.53"]
    behind.write_text("".join(f"nameserver 203.0.113.{n}\n" for n in range(99)))
    assert len(name_servers([str(behind)])) == MOST
