"""The `tests` section of a configuration, checked and turned into policy tests.

Knows: how a test is written, and which hub it is about. Refuses to know: how it is run (service_policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib import config_schema_policy, namespace_titles
from lib.addresses import address, is_address
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.did_you_mean import did_you_mean
from lib.forward_explain import protocol_and_port
from lib.humanize import listed
from lib.ids import NO_NAMESPACE, is_host_name, parse_uuid
from lib.namespace_titles import Title
from lib.settings import HubSettings
from lib.settings_policy import PolicyTest

Titles = Mapping[str, bytes]
"""Titles, folded, with their namespaces."""

ALLOW, DENY = "allow", "deny"
MAX_TESTS = 1000
"""Tests of one configuration: a reload runs all of them while packets wait for their turn."""
MAX_HUBS = 10
"""Hubs that are listed where one has to be named."""


def policy_tests(
    config: Config, hubs: Sequence[HubSettings], titles: Sequence[Title], found: Findings
) -> tuple[PolicyTest, ...]:
    """The policy tests of a configuration. Wrong ones are left out, and each mistake is a problem."""
    if len(config.tests) > MAX_TESTS:
        found.error(config.where("tests"), f"'tests': more than {MAX_TESTS:,}")
    by_name = {hub.name: hub for hub in hubs}
    known = {namespace_titles.folded(title): namespace for namespace, title in titles}
    read = (_test(section, by_name, known, found) for section in found.each(config.tests[:MAX_TESTS]))
    return tuple(test for test in read if test is not None)


def _test(
    section: config_schema_policy.PolicyTest,
    hubs: Mapping[str, HubSettings],
    titles: Titles,
    found: Findings,
) -> PolicyTest | None:
    before = len(found.problems)
    word = section.expect.lower()
    if word not in (ALLOW, DENY):
        hint = did_you_mean(word, (ALLOW, DENY)) or "write expect: allow or deny"
        what = f"'expect': {section.expect[:64]!r} is unknown" if word else "a test without 'expect'"
        found.error(section.where("expect"), what, hint)
    _check_host(section, found)
    _check_addresses(section, found)
    try:
        protocol_and_port(section.port)
    except ValueError as wrong:
        found.error(section.where("port"), f"'port': {wrong}")
    namespace = _namespace(section, titles, found)
    _check_service(section, hubs, found)
    if len(found.problems) > before:
        return None
    return PolicyTest(
        host=section.sender,
        to=section.to,
        allow=word == ALLOW,
        port=section.port.lower(),
        source=section.source,
        namespace=namespace,
        service=section.service,
        where=section.where("expect"),
    )


def _check_host(section: config_schema_policy.PolicyTest, found: Findings) -> None:
    host, where = section.sender, section.where("sender")
    if not host:
        found.error(where, "a test without 'from'", "write from: and the host that sends the packet")
    elif is_address(host):
        found.error(where, f"'from': {host} is an address", "write from: HOST, and source: for its address")
    elif not is_host_name(host):
        found.error(where, f"no host can go by this name: {host[:64]!r}")


def _check_addresses(section: config_schema_policy.PolicyTest, found: Findings) -> None:
    versions = set()
    for key, text in (("to", section.to), ("source", section.source)):
        if not text and key == "source":
            continue
        try:
            versions.add(address(text).version)
        except ValueError:
            what = f"'{key}': {text[:64]!r} is no IP address" if text else f"a test without {key!r}"
            found.error(section.where(key), what, "write one address, such as 10.0.0.9")
    if len(versions) > 1:
        found.error(section.where("source"), f"{section.source} and {section.to}: two versions of IP")


def _namespace(section: config_schema_policy.PolicyTest, titles: Titles, found: Findings) -> bytes:
    known = titles.get(namespace_titles.folded(section.ns))
    try:
        return known or (parse_uuid(section.ns) if section.ns else NO_NAMESPACE)
    except ValueError as wrong:
        found.error(section.where("ns"), f"'ns': {wrong}, and no title of a namespace")
        return NO_NAMESPACE


def _check_service(
    section: config_schema_policy.PolicyTest, hubs: Mapping[str, HubSettings], found: Findings
) -> None:
    """Check that it is clear which hub a test is about. Hubs of one domain are one here."""
    name = section.service
    if name:
        if name not in hubs:
            found.error(section.where("service"), f"there is no hub {name[:64]!r}", found.guess(name, hubs))
        return
    different = {hub.domain or f"service {hub.name}" for hub in hubs.values()}
    if not different:
        found.error(section.where(), "a test, but no hub", "tests are about a service with handler router")
    elif len(different) > 1:
        several = listed(list(hubs), MAX_HUBS)
        found.error(section.where(), "which hub is this test about?", f"write service: one of {several}")
