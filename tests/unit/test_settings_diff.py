"""What a reload says of a service that is another one now."""

from __future__ import annotations

import pytest

from lib import config_read, config_resolve
from lib.settings_diff import differences
from tests.support.configs import checked

HUB = """
services: [{name: s, addr: ":8443", handler: {type: router, metadata: {router: r}}%s, listener: {type: tcp}}]
routers: [{name: r}]
admissions: [{name: one, matchers: [10.0.0.0/8]}, {name: two, matchers: [10.0.0.0/9]}]
"""
CLIENT = """
services:
- {name: s, handler: {type: tun, chain: c}, listener: {type: tun, metadata: {net: 10.0.0.1/24%s}}, forwarder: {nodes: [{addr: host-1}]}}
chains: [{name: c, hops: [{nodes: [{addr: 'hub.example:8443', connector: {type: router}, dialer: {type: tls}}]}]}]
"""


@pytest.mark.parametrize(
    ("text", "before", "after", "told"),
    [
        (HUB, ", admission: one", ", admissions: [one, two]", ["admissions one -> one, two"]),
        (CLIENT, "", ", dns: 10.0.0.53", ["dns none -> 10.0.0.53"]),
        (
            CLIENT,
            ", dns: [10.0.0.53, 10.0.0.54]",
            ", dns: 10.0.0.53",
            ["dns 10.0.0.53, 10.0.0.54 -> 10.0.0.53"],
        ),
    ],
)
def test_a_list_is_shown_as_people_write_it(text: str, before: str, after: str, told: list[str]) -> None:
    found = []
    for more in (before, after):
        settings = config_resolve.resolve(checked(config_read.read([("f", text % more)])))
        found.append((settings.hubs or settings.clients)[0])
    assert differences(found[0], found[1]) == told
