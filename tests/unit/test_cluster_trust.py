"""Hubs that have no secret in common: signatures, who is believed for what, links, certificates that change."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lib import cluster_trust, framing
from lib.cluster_links import Links
from lib.cluster_seal import Proof
from lib.cluster_trust import Trust
from lib.counters import Traffic
from lib.errors import HostError
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable
from lib.settings_registry import ClusterSettings, TrustSettings
from lib.settings_sources import RedisSource
from lib.wire_control import CLUSTER_SIZE
from tests.support.tls import self_signed
from tests.unit.test_cluster_links import Taken, packet, wait_for

ONE, TWO = b"N" * 16, b"M" * 16
KEYS: dict[str, Any] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


class World:
    """Hubs with certificates in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def made(self, name: str, kind: str = "ed25519", file: str = "") -> str:
        """Make a certificate; returns its file, which holds its key too."""
        path = self.directory / f"{file or name}.pem"
        self_signed(path, name, KEYS[kind]())
        return str(path)

    def pin(self, name: str) -> bytes:
        return hashlib.sha256(self.der(name)).digest()

    def der(self, name: str) -> bytes:
        text = (self.directory / f"{name}.pem").read_bytes()
        return x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER)

    def settings(self, name: str, *trust: TrustSettings, key: str = "key") -> ClusterSettings:
        return ClusterSettings(
            name=name,
            registry=RedisSource("127.0.0.1:1", key=key),
            services=("hub",),
            host="127.0.0.1",
            port=0,
            address="127.0.0.1:1",
            cert_file=str(self.directory / f"{name}.pem"),
            trust=trust,
        )

    def hub(self, name: str, *trust: TrustSettings, key: str = "key") -> Trust:
        return Trust(self.settings(name, *trust, key=key))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_is_believed_once_its_certificate_is_known(world: World, kind: str) -> None:
    world.made("hub-1")
    world.made("hub-2", kind)
    teller = world.hub("hub-2")
    hearer = world.hub("hub-1", TrustSettings("hub-2", (world.pin("hub-2"),), "", frozenset({ONE})))
    signature = teller.sign(b"data")
    assert len(signature) <= 512
    assert teller.check("hub-2", b"data", signature) is Proof.GOOD
    assert hearer.check("hub-2", b"data", signature) is Proof.UNREAD
    assert hearer.learn("hub-2", teller.certificate)
    assert hearer.check("hub-2", b"data", signature) is Proof.GOOD
    assert hearer.check("hub-2", b"other", signature) is Proof.BAD
    assert hearer.check("hub-2", b"data", b"") is Proof.BAD
    assert hearer.check("hub-3", b"data", signature) is Proof.STRANGER
    other = world.hub("hub-1", *hearer._trusted.values(), key="other")
    assert other.learn("hub-2", teller.certificate)
    assert other.check("hub-2", b"data", signature) is Proof.BAD, "it was copied from another registry"


def test_nobody_may_claim_what_is_not_granted(world: World) -> None:
    world.made("hub-1")
    rows = (
        TrustSettings("hub-2", (bytes(32),), "", frozenset({ONE})),
        TrustSettings("hub-3", (b"p" * 32,), "", None),
    )
    trust = world.hub("hub-1", *rows)
    assert [trust.grants("hub-2", ONE), trust.grants("hub-2", TWO)] == [True, False]
    assert trust.grants("hub-3", TWO)
    assert not trust.grants("hub-4", ONE)
    assert not trust.grants("hub-1", ONE)


def test_a_certificate_that_is_not_pinned_is_not_taken(world: World) -> None:
    world.made("hub-1")
    world.made("hub-2")
    world.made("hub-3")
    trust = world.hub("hub-1", TrustSettings("hub-2", (world.pin("hub-2"),)))
    assert not trust.learn("hub-2", world.der("hub-3"))
    assert not trust.learn("hub-3", world.der("hub-3"))
    assert not trust.learn("hub-2", b"nonsense")
    nonsense = TrustSettings("hub-2", (hashlib.sha256(b"nonsense").digest(),))
    assert not world.hub("hub-1", nonsense).learn("hub-2", b"nonsense")


def test_a_pinned_certificate_is_followed_by_the_next_one(world: World) -> None:
    world.made("hub-1")
    world.made("hub-2")
    world.made("hub-2", file="next")
    hearer = world.hub("hub-1", TrustSettings("hub-2", (world.pin("hub-2"), world.pin("next"))))
    assert hearer.learn("hub-2", world.der("hub-2"))
    teller = Trust(replace(world.settings("hub-2"), cert_file=str(world.directory / "next.pem")))
    assert hearer.check("hub-2", b"data", teller.sign(b"data")) is Proof.UNREAD
    assert hearer.learn("hub-2", teller.certificate)
    assert hearer.check("hub-2", b"data", teller.sign(b"data")) is Proof.GOOD


def trusting(world: World, *names: str, namespaces: frozenset[bytes] | None = None) -> list[Trust]:
    """Hubs of these names that trust each other."""
    for name in names:
        world.made(name)
    rows = {name: TrustSettings(name, (world.pin(name),), namespaces=namespaces) for name in names}
    return [world.hub(name, *(row for other, row in rows.items() if other != name)) for name in names]


def test_hubs_that_trust_each_other_are_one_cluster_to_clients(world: World) -> None:
    one, two, three = trusting(world, "hub-1", "hub-2", "hub-3")
    assert len(one.cluster_of(ONE)) == CLUSTER_SIZE
    assert one.cluster_of(ONE) == two.cluster_of(ONE) == three.cluster_of(TWO)


def test_hubs_of_which_one_reaches_other_hosts_are_no_cluster_to_clients(world: World) -> None:
    """Each form has something that hub-1 trusts and hub-2 does not, or the other way round."""
    one, _, _ = trusting(world, "hub-1", "hub-2", "hub-3")
    first, second, third = (
        TrustSettings(f"hub-{n}", (world.pin(f"hub-{n}"),), namespaces=None) for n in (1, 2, 3)
    )
    seen = [
        one.cluster_of(ONE),
        world.hub("hub-1", second).cluster_of(ONE),
        world.hub("hub-2", third).cluster_of(ONE),
        world.hub("hub-1", second, third, key="another registry").cluster_of(ONE),
        world.hub("hub-2", first, replace(third, pins=(b"p" * 32,))).cluster_of(ONE),
    ]
    assert len(set(seen)) == len(seen)
    assert world.hub("hub-1").cluster_of(ONE) == b"", "it trusts nobody"
    some = world.hub("hub-1", replace(second, namespaces=frozenset({ONE})))
    assert some.cluster_of(ONE) == world.hub("hub-2", first).cluster_of(ONE)
    assert some.cluster_of(TWO) == b"", "nobody else has hosts of it"


def test_a_cluster_has_another_name_once_a_certificate_is_another_one(world: World) -> None:
    """Both hubs know of it: the one that has it by its file, the other one by the registry."""
    one, _ = trusting(world, "hub-1", "hub-2")
    before = one.cluster_of(ONE)
    pin = world.pin("hub-2")
    world.made("hub-2")
    rows = TrustSettings("hub-2", (pin, world.pin("hub-2")), namespaces=None)
    of_one = world.hub("hub-1", rows)
    of_two = world.hub("hub-2", TrustSettings("hub-1", (world.pin("hub-1"),), namespaces=None))
    assert of_one.cluster_of(ONE) != of_two.cluster_of(ONE), "which of two it has is not known yet"
    assert of_one.learn("hub-2", world.der("hub-2"))
    assert before != of_one.cluster_of(ONE) == of_two.cluster_of(ONE)


def test_files_that_have_changed_are_taken_and_bad_ones_are_not(world: World) -> None:
    world.made("hub-1")
    file = world.made("hub-2")
    trust = world.hub("hub-1", TrustSettings("hub-2", cert_file=file))
    teller = world.hub("hub-2")
    assert trust.check("hub-2", b"data", teller.sign(b"data")) is Proof.GOOD
    assert not trust.refresh()
    world.made("hub-2", "p256")
    assert teller.refresh(), "our own is another one"
    assert trust.check("hub-2", b"data", teller.sign(b"data")) is Proof.BAD
    assert not trust.refresh(), "it is not ours"
    assert trust.check("hub-2", b"data", teller.sign(b"data")) is Proof.GOOD
    Path(file).write_text("nonsense, and longer")
    assert not teller.refresh()
    assert not trust.refresh()
    assert trust.check("hub-2", b"data", teller.sign(b"data")) is Proof.GOOD
    os.remove(file)
    assert not teller.refresh()
    assert teller.check("hub-2", b"data", teller.sign(b"data")) is Proof.GOOD


@pytest.mark.parametrize("wrong", ["no file", "no certificate", "no key", "another key", "too much RSA"])
def test_a_certificate_of_ours_that_cannot_be_used(
    world: World, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(world.made("hub-1", "rsa"))
    certificate, _, key = file.read_text().partition("-----BEGIN PRIVATE")
    expected = {
        "no file": "No such file",
        "no certificate": "holds no certificate",
        "no key": "no private key that can be used",
        "another key": "key values mismatch",
        "too much RSA": "RSA of 4096 bits at most",
    }
    if wrong == "no file":
        file.unlink()
    elif wrong == "no certificate":
        file.write_text("-----BEGIN PRIVATE" + key)
    elif wrong == "no key":
        file.write_text(certificate)
    elif wrong == "another key":
        other = KEYS["rsa"]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        file.write_text(certificate + other)
    else:
        monkeypatch.setattr(cluster_trust, "MAX_RSA", 1024)
    with pytest.raises(HostError, match=expected[wrong]):
        world.hub("hub-1")


# --- links ----------------------------------------------------------------------------------------------


class Hub:
    """One end of links that are known by certificates."""

    def __init__(self, trust: Trust) -> None:
        self.trust, self.name = trust, trust.name
        self.addresses: dict[str, str] = {}
        self.came: list[tuple[str, bytes, bytes]] = []
        self.links = Links(
            trust.name,
            trust,
            ("127.0.0.1", 0),
            bytes(16),
            lambda name: self.addresses.get(name, ""),
            lambda name: Taken(name, self.came),
            lambda name: Traffic(),
        )
        self.links.start()
        self.host = Attachment(Namespace(ONE, RouteTable(()), RouteTable(())), "host-1", "")

    def send(self, name: str, content: bytes) -> None:
        self.links.send(name, self.host, [framing.encode(content)])


@pytest.fixture
def hubs(world: World) -> Iterator[list[Hub]]:
    for name, kind in (("hub-1", "ed25519"), ("hub-2", "p256"), ("hub-3", "rsa")):
        world.made(name, kind)

    def trusting(*names: str) -> list[TrustSettings]:
        return [TrustSettings(name, (world.pin(name),), "", None) for name in names]

    made = [
        Hub(world.hub("hub-1", *trusting("hub-2"))),
        Hub(world.hub("hub-2", *trusting("hub-1"))),
        Hub(world.hub("hub-3", *trusting("hub-1", "hub-2"))),  # whom nobody trusts
    ]
    for hub in made:
        for other in made:
            if other is not hub:
                hub.addresses[other.name] = other.links.address
                hub.trust.learn(other.name, other.trust.certificate)
    yield made
    for hub in made:
        hub.links.stop()


def test_two_that_trust_each_other_have_a_link(hubs: list[Hub]) -> None:
    one, two, _ = hubs
    one.send("hub-2", packet(1))
    wait_for(lambda: two.came == [("hub-1", ONE, framing.encode(packet(1)))])
    two.send("hub-1", packet(2))
    wait_for(lambda: one.came == [("hub-2", ONE, framing.encode(packet(2)))])
    assert len(one.links.all) == len(two.links.all) == 1


def test_who_is_not_trusted_gets_no_link(hubs: list[Hub]) -> None:
    one, _, three = hubs
    three.send("hub-1", packet(1))
    one.send("hub-3", packet(2))
    wait_for(lambda: three.host.traffic.drops and one.host.traffic.drops)
    assert set(three.host.traffic.drops) == set(one.host.traffic.drops) == {Reason.NO_LINK}
    assert (one.came, three.came) == ([], [])


def test_a_trusted_hub_is_none_other(hubs: list[Hub]) -> None:
    """Whoever writes hub-2's address for that of a third hub that is trusted too gets no packet of it."""
    one, two, three = hubs
    three.addresses["hub-1"] = two.links.address
    two.trust._trusted["hub-3"] = TrustSettings("hub-3", (hashlib.sha256(three.trust.certificate).digest(),))
    two.trust.learn("hub-3", three.trust.certificate)
    three.send("hub-1", packet(1))
    wait_for(lambda: three.links.failed("hub-1"))
    assert "is hub 'hub-2'" in three.links.failed("hub-1")
    assert two.came == one.came == []


def test_a_certificate_that_a_trusted_one_has_signed_is_nobody_s(
    hubs: list[Hub], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hub-2 could make more certificates with its own; none of them is pinned."""
    one, two, _ = hubs
    path = world.directory / "below.pem"
    issuer = x509.load_der_x509_certificate(two.trust.certificate)
    key = cluster_trust._read(str(world.directory / "hub-2.pem"))
    self_signed(path, "hub-9", KEYS["p256"](), issuer=(issuer, load_pem_private_key(key, None)))
    monkeypatch.setattr(two.trust, "_shown", path.read_bytes())
    two.trust._contexts.clear()
    two.send("hub-1", packet(1))
    wait_for(lambda: two.links.failed("hub-1"))
    assert one.came == []


def test_a_certificate_of_any_time_is_good(world: World) -> None:
    """It is trusted for itself, and a clock that is wrong must not end a cluster."""
    now = time.time()
    self_signed(world.directory / "hub-1.pem", "hub-1", KEYS["p256"](), begins=now - 9e6, ends=now - 8e6)
    self_signed(world.directory / "hub-2.pem", "hub-2", KEYS["p256"](), begins=now + 8e6, ends=now + 9e6)
    one = Hub(world.hub("hub-1", TrustSettings("hub-2", (world.pin("hub-2"),))))
    two = Hub(world.hub("hub-2", TrustSettings("hub-1", (world.pin("hub-1"),))))
    for hub, other in ((one, two), (two, one)):
        hub.addresses[other.name] = other.links.address
        assert hub.trust.learn(other.name, other.trust.certificate)
    try:
        one.send("hub-2", packet(1))
        wait_for(lambda: two.came)
    finally:
        one.links.stop()
        two.links.stop()
