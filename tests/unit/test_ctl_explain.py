"""The namespace in which a packet is explained: the one that is named, or that the host is in."""

from __future__ import annotations

import pytest

from lib import ids
from lib.ctl_explain import MAX_NAMED, read_question
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.route_table import RouteTable
from tests.support.routes import entry

NONE, A, B = ids.NO_NAMESPACE, bytes([1] * 16), bytes([2] * 16)
OF_1, OF_2 = (RouteTable([entry("10.0.0.1", host)]) for host in ("host-1", "host-2"))


def where(domain: Domain, host: str = "host-1", ns: str = "") -> bytes:
    return read_question(domain, {"from": host, "to": "10.0.0.9", "ns": ns}).attachment.namespace.id


def join(domain: Domain, *namespaces: bytes, host: str = "host-1") -> Domain:
    for namespace in namespaces:
        domain.enter(Attachment(domain.namespace(namespace), host, "192.0.2.1:1"), 0.0)
    return domain


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        (Domain({}), NONE),
        (join(Domain({}), NONE), NONE),
        (join(Domain({A: OF_2}), A), A),
        (join(Domain({A: OF_2, B: OF_1}), A), A),  # where it is, not where routes lead to it
        (join(Domain({}, OF_1), A), A),
        (join(Domain({}), A, NONE, B), NONE),
        (join(Domain({A: OF_2}), A, host="host-2"), NONE),
        (Domain({A: OF_1, B: OF_2}), A),
        (Domain({A: OF_1}, OF_1), NONE),
        (Domain({A: OF_2, B: OF_2}), NONE),
    ],
)
def test_a_host_is_where_it_is_connected_or_else_where_routes_lead_to_it(
    domain: Domain, found: bytes
) -> None:
    assert where(domain) == found


@pytest.mark.parametrize("domain", [join(Domain({}), A, B), Domain({A: OF_1, B: OF_1})])
def test_one_that_is_in_several_namespaces_has_to_be_named_with_one(domain: Domain) -> None:
    first, second = ids.format_uuid(A), ids.format_uuid(B)
    with pytest.raises(ValueError, match="2 namespaces have a host 'host-1': ") as told:
        where(domain)
    assert str(told.value).endswith(f"--ns {first}, --ns {second}; say which one")
    assert where(domain, ns=second) == B
    assert where(domain, ns=ids.format_uuid(NONE)) == NONE


def test_of_very_many_only_some_are_named() -> None:
    many = join(Domain({}), *(number.to_bytes(16, "big") for number in range(1, MAX_NAMED + 5)))
    with pytest.raises(ValueError, match=rf"{MAX_NAMED + 4} namespaces .*, 4 more; say which one"):
        where(many)
