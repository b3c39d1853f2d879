"""Ingress: what a real GOST answered, and the one place where we answer otherwise on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.ids import NO_NAMESPACE, parse_uuid
from lib.ingress import Ingress

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "ingress_answers.json").read_text())
ONE, TWO = (f"{n:08d}-0000-4000-8000-000000000000" for n in (1, 2))
STATUS_OK, STATUS_HOST_UNREACHABLE = 0x00, 0x06


def recorded(with_host: bool) -> list[Any]:
    return [pytest.param(c, id=c["name"]) for c in RECORDED["cases"] if bool(c["host"]) == with_host]


def namespace_of(case: dict[str, Any]) -> bytes:
    return parse_uuid(case["namespace"]) if case["namespace"] else NO_NAMESPACE


@pytest.fixture(scope="module")
def gost_rules() -> Ingress:
    return Ingress((rule["hostname"], rule["endpoint"]) for rule in RECORDED["rules"])


@pytest.mark.parametrize("case", recorded(with_host=True))
def test_answers_as_gost_did(case: dict[str, Any], gost_rules: Ingress) -> None:
    status = bytes.fromhex(case["response"])[1]
    assert status in (STATUS_OK, STATUS_HOST_UNREACHABLE)
    assert gost_rules.admits(case["host"], namespace_of(case)) == (status == STATUS_OK)


@pytest.mark.parametrize("case", recorded(with_host=False))
def test_differs_on_purpose_an_empty_host_is_refused(case: dict[str, Any], gost_rules: Ingress) -> None:
    assert bytes.fromhex(case["response"])[1] == STATUS_OK, "GOST skips the check"
    assert not gost_rules.admits(case["host"], namespace_of(case))


@pytest.mark.parametrize(
    ("rules", "host", "endpoint"),
    [
        pytest.param([], "host-1", None, id="no rules"),
        pytest.param([("h", ONE)], "h", ONE, id="exact"),
        pytest.param([("h", ONE), ("h", TWO)], "h", TWO, id="the later rule counts"),
        pytest.param([("*.x", ONE), (".x", TWO)], "a.x", TWO, id="*.x and .x are one key"),
        pytest.param([("h", ONE), ("h", "")], "h", ONE, id="an empty endpoint takes no rule away"),
        pytest.param([("h", ONE), ("h", "junk")], "h", None, id="a later bad endpoint does"),
        pytest.param([("a.x", ""), (".x", ONE)], "a.x", ONE, id="past an empty endpoint to the wildcard"),
        pytest.param([("a.x", "junk"), (".x", ONE)], "a.x", None, id="but not past a bad endpoint"),
        pytest.param([("", ONE)], "", None, id="an empty hostname is no rule"),
        pytest.param([(".x", ONE), (".b.x", TWO)], "a.b.x", TWO, id="the nearer domain first"),
        pytest.param([(".x", ONE), (".b.x", TWO)], "c.x", ONE, id="the domain further up"),
        pytest.param([(".b.x", ONE), ("b.x", TWO)], "b.x", TWO, id="exact before wildcard"),
        pytest.param([("b.x", ONE)], "a.b.x", None, id="a plain rule is no wildcard"),
        pytest.param([(".x", ONE)], "ax", None, id="a domain begins at its dot"),
        pytest.param([("h", ONE.replace("-", "").upper())], "h", ONE, id="any spelling of a UUID"),
    ],
)
def test_the_endpoint_of_a_host(rules: list[tuple[str, str]], host: str, endpoint: str | None) -> None:
    assert Ingress(rules).endpoint(host) == (parse_uuid(endpoint) if endpoint else NO_NAMESPACE)


def test_a_host_without_rule_joins_only_the_namespace_without_id() -> None:
    ingress = Ingress([("h", ONE)])
    assert ingress.admits("other", NO_NAMESPACE)
    assert not ingress.admits("other", parse_uuid(ONE))
    assert not ingress.admits("h", NO_NAMESPACE)


def test_rules_are_counted_by_key() -> None:
    assert len(Ingress([("*.x", ONE), (".x", TWO), ("h", ONE), ("e", "")])) == 2
