"""Trust between hubs without a common secret: each has a key of its own, and may claim what it is granted.

Knows: our certificate and key, the certificates of hubs that are trusted, signatures by any of them.
Refuses to know: what is signed (cluster_wire), how certificates come from a registry (cluster_redis_lists).

    trust: hub, pin       its certificate stands in the registry; the pin proves that it is the hub's
    trust: hub, certFile  its certificate is in a file

A certificate is trusted for itself, whoever has signed it and until whenever it is valid, as a pin is
elsewhere. Files are looked at again every few seconds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gevent import ssl

from lib.auth_admission import Certificate
from lib.cluster_identity import link_context
from lib.cluster_seal import Proof, to_sign
from lib.errors import HostError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say, settle
from lib.service_threads import aside
from lib.settings_registry import ClusterSettings, TrustSettings
from lib.wire_control import CLUSTER_SIZE

LOOK_SECONDS = 2.0
"""How often it is looked whether a file has changed, and how long the disk may take for that."""
MAX_FILE = 1 << 16
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h): a clock that is wrong ends no link."""

Verify = Callable[[bytes, bytes], bool]
"""(signature, data) -> whether it is that of a key."""


class Trust:
    """The seal (cluster_seal.Seal) and the link certificates of one hub, and of those that it trusts."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Read our certificate and key, and those of others that are in files. Raises HostError."""
        self.name = settings.name
        self._where = settings.registry.key
        self._files = settings.cert_file, settings.key_file or settings.cert_file
        self._trusted = {one.hub: one for one in settings.trust}
        self._known: dict[str, bytes] = {}
        """Hub -> its certificate, DER."""
        self._keys: dict[str, Verify] = {}
        self._names: dict[str, str] = {}
        """SHA-256 of a certificate in hex -> the hub."""
        self._contexts: dict[Any, Any] = {}
        self.mentioned = frozenset().union(*(one.namespaces or () for one in settings.trust))
        """Namespaces that some hub is granted and another one is not."""
        self._clusters: dict[bytes, bytes] = {}
        """Namespace, b"" for all that are not mentioned -> cluster_of()."""
        self._stamps = self._look()
        self._shown = b""
        self.certificate = b""
        self._load_own()
        for one in settings.trust:
            if one.cert_file:
                self._load(one)

    # --- signatures

    def sign(self, data: bytes) -> bytes:
        """A signature by our key."""
        return self._sign(to_sign(self._where, data))

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        """Whether a signature is that of a hub; also of this one."""
        if name != self.name and name not in self._trusted:
            return Proof.STRANGER
        verify = self._keys.get(name)
        if verify is None:
            return Proof.UNREAD
        if verify(signature, to_sign(self._where, data)):
            return Proof.GOOD
        # It may have another certificate since, whose pin is trusted too.
        return Proof.UNREAD if name != self.name and len(self._trusted[name].pins) > 1 else Proof.BAD

    def grants(self, name: str, namespace: bytes) -> bool:
        """Whether a hub may claim hosts of a namespace, and send packets of them."""
        trusted = self._trusted.get(name)
        if trusted is None:
            return False
        return trusted.namespaces is None or namespace in trusted.namespaces

    def cluster_of(self, namespace: bytes) -> bytes:
        """16 bytes that are the same for hubs which trust each other, and the same others, with a namespace.

        They stand for the certificates of all of these; empty where no other hub may have hosts of it.
        """
        key = namespace if namespace in self.mentioned else b""
        found = self._clusters.get(key)
        if found is None:
            names = sorted(name for name in self._trusted if self.grants(name, namespace))
            marks = [f"{name} {self._mark(name)}" for name in sorted([*names, self.name])]
            text = "\n".join(["name of the cluster", *marks])
            whole = hashlib.sha256(to_sign(self._where, text.encode())).digest()
            found = whole[:CLUSTER_SIZE] if names else b""
            self._clusters[key] = found
        return found

    def _mark(self, name: str) -> str:
        """The pin of the certificate that a hub has, in hex; empty while it is not known which of several."""
        if (der := self._known.get(name)) is not None:
            return hashlib.sha256(der).hexdigest()
        pins = self._trusted[name].pins
        return pins[0].hex() if len(pins) == 1 else ""

    def learn(self, name: str, certificate: bytes) -> bool:
        """Take a certificate of a hub that stands in the registry, where it has a pin of that hub."""
        trusted = self._trusted.get(name)
        if trusted is None or hashlib.sha256(certificate).digest() not in trusted.pins:
            return False
        try:
            self._know(name, certificate)
        except HostError:
            return False
        return True

    # --- links

    @property
    def server(self) -> Any:
        """The TLS context of who is dialled."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    @property
    def client(self) -> Any:
        """The TLS context of who dials."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def name_of(self, certificate: Certificate) -> str:
        """The name of the hub whose certificate this is; empty for nobody's."""
        return self._names.get(certificate.fingerprint, "")

    def _context(self, protocol: Any) -> Any:
        made = self._contexts.get(protocol)
        if made is None:
            others = [pem for name, pem in self._pems().items() if name != self.name]
            made = link_context(protocol, "".join(others or self._pems().values()), self._shown)
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
            self._contexts[protocol] = made
        return made

    def _pems(self) -> dict[str, str]:
        return {name: ssl.DER_cert_to_PEM_cert(der) for name, der in self._known.items()}

    # --- files

    def refresh(self) -> bool:
        """Read files again that have changed; returns whether our own certificate is another one.

        What cannot be used is logged, and the one before stays.
        """
        try:
            stamps = aside(self._files[0], self._look, seconds=LOOK_SECONDS)
        except TimeoutError:
            return False
        changed = {file for file, stamp in stamps.items() if stamp and stamp != self._stamps.get(file)}
        self._stamps |= {file: stamps[file] for file in changed}
        before = self.certificate
        if changed & set(self._files):
            self._try(self._files[0], self._load_own)
        for one in self._trusted.values():
            if one.cert_file in changed:
                self._try(one.cert_file, self._load, one)
        return self.certificate != before

    def _try(self, file: str, load: Callable[..., bytes], *arguments: object) -> None:
        try:
            mark = f"sha256:{hashlib.sha256(load(*arguments)).hexdigest()}"
        except HostError as error:
            text = "certificate not read again: %s; the one before stays"
            say(Entry.CERTIFICATE_FAILED, text, error, fold=file, habit=OUTAGE, file=file, reason=error)
            return
        settle(Entry.CERTIFICATE_FAILED, file)
        over(Entry.CERTIFICATE_FAILED, file)
        text = "certificate %s read again: %s"
        say(Entry.CERTIFICATE_RELOADED, text, file, mark, file=file, fingerprint=mark)

    def _look(self) -> dict[str, object]:
        files = (*self._files, *(one.cert_file for one in self._trusted.values()))
        return {file: _stamp(file) for file in files if file}

    def _load_own(self) -> bytes:
        """Read our certificate and key. Raises HostError, and changes nothing then."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        certificate, pem = (_read(file) for file in self._files)
        der = certificate_in(certificate, self._files[0])
        try:
            key: Any = load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise HostError(f"{self._files[1]}: no private key that can be used: {error}") from None
        sign, shown = signer(key, self._files[1]), certificate + b"\n" + pem
        # OpenSSL also finds out whether the key is that of the certificate.
        link_context(ssl.PROTOCOL_TLS_SERVER, ssl.DER_cert_to_PEM_cert(der), shown)
        self._know(self.name, der)
        self._sign, self._shown, self.certificate = sign, shown, der
        return der

    def _load(self, one: TrustSettings) -> bytes:
        der = certificate_in(_read(one.cert_file), one.cert_file)
        self._know(one.hub, der)
        return der

    def _know(self, name: str, der: bytes) -> None:
        """Know a hub by a certificate from now on. Raises HostError."""
        from cryptography import x509

        try:
            certificate = x509.load_der_x509_certificate(der)
            key, may = certificate.public_key(), _ends(certificate)
        except ValueError as error:
            raise HostError(f"hub {name}: its certificate is none: {error}") from None
        if not may:
            text = "its certificate may not be used at both ends of TLS (serverAuth and clientAuth)"
            raise HostError(f"hub {name}: {text}")
        self._keys[name] = verifier(key, f"hub {name}")
        self._known[name] = der
        self._names = {hashlib.sha256(one).hexdigest(): hub for hub, one in self._known.items()}
        self._contexts.clear()
        self._clusters.clear()


def certificate_in(text: bytes, file: str) -> bytes:
    """The first certificate in a file's text, DER. Raises HostError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        return x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER)
    except ValueError:
        raise HostError(f"{file}: it holds no certificate (PEM)") from None


def _ends(certificate: Any) -> bool:
    """Whether a certificate may be used at both ends of TLS: OpenSSL refuses it else. Raises ValueError."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return Usage.ANY_EXTENDED_KEY_USAGE in found or {Usage.SERVER_AUTH, Usage.CLIENT_AUTH} <= set(found)


def _read(file: str) -> bytes:
    def read() -> bytes:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_FILE)

    try:
        return aside(file, read)
    except OSError as error:
        raise HostError(f"{file}: {error.strerror or error}") from None


def _stamp(file: str) -> object:
    try:
        state = os.stat(file)
    except OSError:  # another user may not be able to see it any more
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def signer(key: Any, name: str) -> Callable[[bytes], bytes]:
    """What signs with a private key. Raises HostError for a kind of key that cannot."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return lambda data: key.sign(data, ec.ECDSA(_sha256()))
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size <= MAX_RSA:
        return lambda data: key.sign(data, _padding(), _sha256())
    raise HostError(f"{name}: {_KINDS}")


def verifier(key: Any, name: str) -> Verify:
    """What checks signatures by a public key. Raises HostError for a kind of key that cannot."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    check: Callable[[bytes, bytes], None]
    if isinstance(key, ed25519.Ed25519PublicKey):
        check = key.verify
    elif isinstance(key, ec.EllipticCurvePublicKey):
        check = lambda signature, data: key.verify(signature, data, ec.ECDSA(_sha256()))  # noqa: E731
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size <= MAX_RSA:
        check = lambda signature, data: key.verify(signature, data, _padding(), _sha256())  # noqa: E731
    else:
        raise HostError(f"{name}: {_KINDS}")

    def verify(signature: bytes, data: bytes) -> bool:
        try:
            check(signature, data)
        except InvalidSignature:
            return False
        return True

    return verify


MAX_RSA = 4096
_KINDS = f"the key is neither Ed25519, of an elliptic curve, nor RSA of {MAX_RSA} bits at most"


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _padding() -> Any:
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PSS(padding.MGF1(_sha256()), 32)
