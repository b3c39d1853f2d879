"""What a login may use by its own row and by the rows of a bindings source."""

from __future__ import annotations

import pytest

from lib.auth_bindings import Binding, Bindings
from lib.auth_logins import EVERYTHING, Grant

A, B = bytes([1] * 16), bytes([2] * 16)
BINDINGS = Bindings(
    [
        Binding("all"),
        Binding("two", ("host-1",), (A,)),
        Binding("two", ("host-2",), (B,)),
        Binding("site", ("*.site-1",)),
    ]
)


@pytest.mark.parametrize(
    ("username", "own", "host", "namespace", "may"),
    [
        ("all", EVERYTHING, "anybody", B, True),
        ("two", EVERYTHING, "host-1", A, True),
        ("two", EVERYTHING, "host-2", B, True),
        ("two", EVERYTHING, "host-1", B, False),
        ("two", EVERYTHING, "host-2", A, False),
        ("site", EVERYTHING, "a.site-1", A, True),
        ("site", EVERYTHING, "host-1", A, False),
        ("site", Grant(("host-1",)), "host-1", A, True),
        ("none", EVERYTHING, "host-1", A, False),
        ("none", Grant(("host-1",)), "host-1", A, True),
        ("none", Grant((), (A,)), "host-1", B, False),
    ],
)
def test_each_row_is_a_permission_of_its_own(
    username: str, own: Grant, host: str, namespace: bytes, may: bool
) -> None:
    assert BINDINGS.grant(username, own).allows(host, namespace) is may


def test_a_name_without_a_binding_is_told_so() -> None:
    assert BINDINGS.grant("none", EVERYTHING).nothing == "no binding of the login 'none' is known"
    assert len(BINDINGS) == 4
