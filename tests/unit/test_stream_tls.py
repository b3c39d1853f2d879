"""TLS between our codec and servers and clients as others configure them: what meets, and what is said if not."""

from __future__ import annotations

import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lib import stream_tls
from lib.errors import ProtocolError
from lib.settings_transport import TlsSettings
from lib.stream_tls import TlsCodec
from tests.support.tls import Authority, Pair

V = ssl.TLSVersion
DEFAULT = TlsSettings()


@dataclass(frozen=True)
class Keys:
    """Certificates by the kind of their key, and parameters for DHE that are too short today."""

    ecdsa: Pair
    rsa: Pair
    dh: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    directory: Path = tmp_path_factory.mktemp("tls")
    rsa = Pair(str(directory / "rsa.pem"), str(directory / "rsa-key.pem"), "")
    dh = str(directory / "dh.pem")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=hub.test", "-days", "2")
    subprocess.run((*made, "-keyout", rsa.key, "-out", rsa.cert), check=True, capture_output=True)
    shorter = ("openssl", "dhparam", "-dsaparam", "-out", dh, "1024")
    subprocess.run(shorter, check=True, capture_output=True)
    return Keys(Authority(directory).issue("hub.test"), rsa, dh)


class Foreign:
    """The other side: Python's ssl with any settings, as another program has them."""

    def __init__(
        self, server: bool, low: V, high: V, ciphers: str = "", key: Pair | None = None, dh: str = ""
    ) -> None:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        if key:
            made.load_cert_chain(key.cert, key.key)
        if not server:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if ciphers:
            made.set_ciphers(ciphers)
        if dh:
            made.load_dh_params(dh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version, made.maximum_version = low, high
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "hub.test"
        self.connection = made.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)

    def step(self, data: bytes) -> bytes:
        """Go on with what the other side has said; what this one says."""
        self._in.write(data)
        try:
            self.connection.do_handshake()
        except ssl.SSLError:
            pass  # our codec is what the tests look at
        return self._out.read()


def ours(settings: TlsSettings, server: bool, key: Pair | None = None) -> TlsCodec:
    made = stream_tls.context(settings, server)
    if key:
        stream_tls.load_certificate(made, key.cert, key.key)
    return TlsCodec(made, server, "" if server else "hub.test")


def shake(codec: TlsCodec, foreign: Foreign) -> Any:
    """The handshake, to its end; our connection. Raises ProtocolError."""
    client_begins = foreign.step(b"") if codec._server else b""
    codec.feed(memoryview(client_begins))
    for _ in range(4):
        done = codec.handshake()
        said = foreign.step(codec.output())
        if done and not said:
            return codec.connection
        codec.feed(memoryview(said))
    raise AssertionError("no end")


NGINX = "HIGH:!aNULL:!MD5"
"""nginx's ssl_ciphers where none are written; its versions were 1.0 to 1.2 until 1.23.4."""
WEAK = "ALL:@SECLEVEL=0"


@pytest.mark.parametrize("key", ["rsa", "ecdsa"])
def test_a_client_goes_through_an_nginx_with_its_built_in_defaults(keys: Keys, key: str) -> None:
    foreign = Foreign(True, V.TLSv1, V.TLSv1_2, NGINX, getattr(keys, key))
    connection = shake(ours(DEFAULT, False), foreign)
    assert connection.version() == "TLSv1.2"
    assert connection.cipher()[0].startswith("ECDHE-")


def test_a_client_passes_a_server_that_prefers_short_dhe_keys(keys: Keys) -> None:
    foreign = Foreign(True, V.TLSv1_2, V.TLSv1_2, "DHE:ECDHE:@SECLEVEL=0", keys.rsa, keys.dh)
    assert shake(ours(DEFAULT, False), foreign).cipher()[0].startswith("ECDHE-")


def test_a_proxy_without_1_3_goes_to_a_hub(keys: Keys) -> None:
    """nginx with `proxy_pass https://`, whose proxy_ssl_protocols are as old as its ssl_protocols."""
    connection = shake(ours(DEFAULT, True, keys.ecdsa), Foreign(False, V.TLSv1, V.TLSv1_2, NGINX))
    assert connection.version() == "TLSv1.2"


def test_two_new_ends_speak_1_3(keys: Keys) -> None:
    new = V.TLSv1_2, V.MAXIMUM_SUPPORTED
    assert shake(ours(DEFAULT, False), Foreign(True, *new, key=keys.rsa)).version() == "TLSv1.3"
    assert shake(ours(DEFAULT, True, keys.rsa), Foreign(False, *new)).version() == "TLSv1.3"


LISTENER = "write minVersion: VersionTLS12 in the tls options of the listener, or leave it out"
THERE = "set it to 1.2 or newer there (nginx: ssl_protocols TLSv1.2 TLSv1.3)"
NO_MAXIMUM = "leave maxVersion out of the tls options of the dialer"
DIALER = "write minVersion: VersionTLS12 in the tls options of the dialer, or leave it out"


@pytest.mark.parametrize(
    ("settings", "low", "high", "said"),
    [
        (TlsSettings(min_version="1.3"), V.TLSv1, V.TLSv1_2,
         "no version in common: the client has up to 1.2, this hub 1.3: " + LISTENER),
        (TlsSettings(min_version="1.3"), V.TLSv1_2, V.TLSv1_2,
         "no version in common: the client has up to 1.2, this hub 1.3: " + LISTENER),
        (DEFAULT, V.TLSv1, V.TLSv1_1,
         "no version in common: the client has up to 1.1, this hub 1.2 to 1.3: the client must be set to 1.2 or newer"),
        (TlsSettings(max_version="1.2"), V.TLSv1_3, V.TLSv1_3,
         "no version in common: the client has 1.3, this hub 1.2: leave maxVersion out of the tls options of the listener"),
    ],
)  # fmt: skip
def test_a_hub_says_which_versions_both_sides_have(
    keys: Keys, settings: TlsSettings, low: V, high: V, said: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        shake(ours(settings, True, keys.rsa), Foreign(False, low, high, WEAK))
    assert str(caught.value) == f"TLS: {said}"


@pytest.mark.parametrize(
    ("settings", "low", "high", "said"),
    [
        (TlsSettings(min_version="1.3"), V.TLSv1, V.TLSv1_2,
         "this client has 1.3, the far end only 1.2 or older: " + DIALER),
        (DEFAULT, V.TLSv1, V.TLSv1_1,
         "this client has 1.2 to 1.3, the far end nothing newer than 1.1: " + THERE),
        (TlsSettings(max_version="1.2"), V.TLSv1_3, V.TLSv1_3,
         "this client has 1.2, the far end 1.3 or nothing newer than 1.1: " + NO_MAXIMUM),
    ],
)  # fmt: skip
def test_a_client_says_which_versions_both_sides_have(
    keys: Keys, settings: TlsSettings, low: V, high: V, said: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        shake(ours(settings, False), Foreign(True, low, high, WEAK, keys.rsa))
    assert str(caught.value) == f"TLS: no version in common: {said}"


def test_a_client_names_the_version_of_a_server_that_does_not_know_later_ones() -> None:
    """An OpenSSL before 1.0.1 answers every hello with its own newest version."""
    codec = ours(DEFAULT, False)
    assert not codec.handshake()
    body = b"\x03\x01" + bytes(32) + b"\x00\xc0\x13\x00"
    codec.feed(
        memoryview(b"\x16\x03\x01" + (4 + len(body)).to_bytes(2) + b"\x02" + len(body).to_bytes(3) + body)
    )
    with pytest.raises(ProtocolError, match=r"this client has 1\.2 to 1\.3, the far end 1\.0: set it to"):
        codec.handshake()


@pytest.mark.parametrize(
    ("ciphers", "key"),
    [("kRSA", "rsa"), ("ECDHE-RSA-AES128-SHA", "rsa"), ("aRSA", "ecdsa")],
    ids=["without forward secrecy", "with SHA-1", "for another kind of key"],
)
def test_no_cipher_in_common_is_said_as_that(keys: Keys, ciphers: str, key: str) -> None:
    with pytest.raises(ProtocolError, match="TLS: no cipher in common: of the ciphers here"):
        shake(ours(DEFAULT, True, getattr(keys, key)), Foreign(False, V.TLSv1_2, V.TLSv1_2, ciphers))
    if key == "rsa":
        with pytest.raises(
            ProtocolError, match="TLS: handshake failure: the far end finds no cipher in common"
        ):
            shake(ours(DEFAULT, False), Foreign(True, V.TLSv1, V.TLSv1_2, ciphers, keys.rsa))


def test_a_peer_cannot_ask_for_one_handshake_after_another() -> None:
    """In TLS 1.2 that is renegotiation, and each costs the hub a signature."""
    for server in (False, True):
        assert stream_tls.context(DEFAULT, server).options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("cut", [0, 1, 3, 5, 100])
def test_records_are_asked_for_once_each(keys: Keys, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """OpenSSL says with an exception, which is dear, that there is no more; a rest of a record is not there yet."""
    hub, client = ours(TlsSettings(), True, keys.ecdsa), ours(TlsSettings(), False)
    for _ in range(3):
        for one, other in ((client, hub), (hub, client)):
            one.handshake()
            other.feed(memoryview(one.output()))
    asked: list[int] = []
    view, read = memoryview(bytearray(1 << 18)), hub.connection.read

    class Counted:
        pending = hub.connection.pending

        @staticmethod
        def read(size: int, into: memoryview) -> int:
            asked.append(size)
            got: int = read(size, into)
            return got

    monkeypatch.setattr(hub, "connection", Counted)
    sent = bytes(range(256)) * 150  # three records
    client.encode([sent])
    records = client.output()
    hub.feed(memoryview(records)[: len(records) - cut])
    size = hub.read_into(view) or 0
    assert (len(asked), hub.more) == (3, False)
    assert bytes(view[:size]) == sent[: size if cut else None]
    if cut:
        hub.feed(memoryview(records)[-cut:])
        size += hub.read_into(view[size:]) or 0
        assert bytes(view[:size]) == sent
