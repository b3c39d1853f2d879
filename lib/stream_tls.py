"""TLS as a layer over a stream: SSL contexts from settings, and the codec.

Knows: Python's ssl over memory BIOs, by which one receive brings many records, and one send takes many.
Refuses to know: sockets (stream_layer), where a hub's certificate comes from (stream_certificates).
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gevent import ssl

from lib.auth_admission import NO_CERTIFICATE, Certificate
from lib.errors import HostError, ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.packet import Buffer
from lib.session_cost import HALF_TURN_SECONDS
from lib.settings_transport import TlsSettings
from lib.wire_guess import Spoken
from lib.wire_tls import HELLO_BYTES, TLS_1_2, TLS_1_3, names, version_chosen, versions_offered

VERSIONS = {"": None, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!SHA1"
"""The cipher suites of TLS 1.2 where none are named: those with forward secrecy by elliptic curves, as in Go.
An old server may prefer DHE to them, with a key so short that OpenSSL would refuse it."""
_RECEIVE = (1 << 18) + (1 << 13)
"""Bytes of records that are received at once: as many as fill the buffer above, and what is around them."""
_NO_TLS = b"\x15\x03\x01\x00\x02\x02\x46"
"""An alert, protocol_version (RFC 8446, 6). OpenSSL says nothing, or waits for more."""


def context(settings: TlsSettings, server: bool, kind: Any = ssl.SSLContext) -> Any:
    """An SSLContext (`kind`) for these settings, a hub's without its certificate.

    Raises HostError for files that cannot be used.
    """
    made = kind(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = VERSIONS[settings.min_version] or ssl.TLSVersion.TLSv1_2
    made.maximum_version = VERSIONS[settings.max_version] or ssl.TLSVersion.MAXIMUM_SUPPORTED
    made.set_ciphers(":".join(settings.ciphers) or CIPHERS)  # of 1.2; 1.3 has none to choose from, as in Go
    made.options |= (
        ssl.OP_NO_RENEGOTIATION
    )  # in 1.2 a peer could ask for one expensive handshake after another
    if settings.alpn:
        made.set_alpn_protocols(list(settings.alpn))
    if server:
        made.num_tickets = 0  # clients never resume a TLS session, and each ticket costs a message
        made.options |= ssl.OP_NO_TICKET  # the same for 1.2
        made.verify_mode = ssl.CERT_REQUIRED if settings.ca_file else ssl.CERT_NONE
    else:
        _trust(made, settings)
    if settings.ca_file:
        load_authorities(made, settings.ca_file)
    if not server and settings.cert_file:
        load_certificate(made, settings.cert_file, settings.key_file)
    return made


def _trust(made: Any, settings: TlsSettings) -> None:
    """What a peer's certificate is checked for, as in GOST: with `secure` its chain and name, with only a CA
    file its chain, else nothing. A pin is checked instead of all this (TlsCodec)."""
    checked = not settings.pin and (settings.verify or settings.ca_file)
    made.check_hostname = bool(checked and settings.verify)
    made.verify_mode = ssl.CERT_REQUIRED if checked else ssl.CERT_NONE
    if checked and not settings.ca_file:
        made.load_default_certs()


class BadFile(HostError):
    """A file with a certificate or a key that cannot be used: which one, and why."""

    def __init__(self, file: str, why: str) -> None:
        self.file, self.why = file, why
        super().__init__(f"{file}: {why}")


def load_certificate(made: Any, cert_file: str, key_file: str) -> None:
    """Load a certificate and its key into an SSLContext. Raises BadFile."""
    key_file = key_file or cert_file
    for file in (cert_file, key_file):
        _open_once(file)
    try:
        made.load_cert_chain(cert_file, key_file, password=_ask_nobody)
    except (ssl.SSLError, _Encrypted) as error:
        raise _bad_pair(cert_file, key_file, error) from None
    except OSError as error:
        raise BadFile(cert_file, error.strerror or str(error)) from None


def load_authorities(made: Any, ca_file: str) -> None:
    """Load the CA certificates that peers' certificates are checked by. Raises BadFile."""
    _open_once(ca_file)
    try:
        made.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        is_empty = error.reason == "NO_CERTIFICATE_OR_CRL_FOUND"
        raise BadFile(ca_file, _NO_CERTIFICATE if is_empty else _reason(error)) from None
    except OSError as error:
        raise BadFile(ca_file, error.strerror or str(error)) from None


class _Encrypted(Exception):
    """A key is encrypted."""


def _ask_nobody() -> str:
    """In place of OpenSSL's own question on the terminal, where nobody may be."""
    raise _Encrypted


def _open_once(file: str) -> None:
    """Raise BadFile for a file that cannot be opened: OpenSSL does not say which one of two that is."""
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        raise BadFile(file, error.strerror or str(error)) from None


_NO_CERTIFICATE = "it holds no certificate (PEM)"
_ENCRYPTED = "the key is encrypted, and nobody is there to give its password"
_DECRYPT = "openssl pkey -in OLD -out NEW writes one without"


def _bad_pair(cert_file: str, key_file: str, error: Exception) -> BadFile:
    """Which of two files OpenSSL could not use, and why."""
    if isinstance(error, _Encrypted):
        return BadFile(key_file, f"{_ENCRYPTED}; {_DECRYPT}")
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return BadFile(key_file, f"the key does not belong to the certificate {cert_file}")
    if b"-----BEGIN CERT" not in _head(cert_file) and b"-----BEGIN TRUSTED CERT" not in _head(cert_file):
        return BadFile(cert_file, _NO_CERTIFICATE)
    if b"PRIVATE KEY-----" not in _head(key_file):
        return BadFile(key_file, "it holds no private key (PEM)")
    return BadFile(cert_file, f"no usable certificate and key: {_reason(error)}")


def _head(file: str) -> bytes:
    """What a file of certificates begins with."""
    try:
        with open(file, "rb") as opened:
            return opened.read(_RECEIVE)
    except OSError:
        return b""


class TlsCodec:
    """The codec of one TLS connection (stream_layer.Codec)."""

    name = "TLS"
    landing = memoryview(bytearray(_RECEIVE))
    speaks = frozenset({Spoken.TLS, Spoken.UNKNOWN})
    messages = 0  # records are cheap

    def __init__(self, made: Any, server: bool, server_name: str = "", pin: bytes = b"") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else server_name or None
        self.connection = made.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )
        self._pin, self._server = pin, server
        self.is_dear = server
        self._hello = b""  # what the far end said first, for an error message about it
        self.more = False
        self.output = self._outgoing.read
        self.feed: Callable[[memoryview], object] = self._feed_hello

    def _feed_hello(self, data: memoryview) -> None:
        """Take received bytes of the handshake; later ones go to OpenSSL directly."""
        self._hello += data[: HELLO_BYTES - len(self._hello)]
        self._incoming.write(data)

    def handshake(self) -> bool:
        """Go on with the handshake; returns whether it is done. Raises ProtocolError."""
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise ProtocolError(f"TLS: {self._why(error)}", Refusal.TRANSPORT) from None
        self.feed, self._hello = self._incoming.write, b""
        if self._pin and not hmac.compare_digest(self._pin, self.fingerprint()):
            raise ProtocolError(
                f"TLS: the hub's certificate is sha256:{self.fingerprint().hex()}, not the one pinned",
                Refusal.TRANSPORT,
            )
        return True

    def _why(self, error: Any) -> str:
        """Why the handshake failed; where versions or ciphers do not meet, also what to write."""
        if error.reason in _NO_VERSION:
            side = _to_a_client if self._server else _to_a_hub
            return f"no version in common: {side(_spoken(self.connection.context), self._hello)}"
        if error.reason == "NO_SHARED_CIPHER":
            return _NO_CIPHER
        if error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and not self._server:
            return _REFUSED
        return _reason(error)

    def turn_away(self) -> None:
        """Encode an alert for a client that speaks no TLS."""
        if self._server:
            self._outgoing.write(_NO_TLS)

    def fingerprint(self) -> bytes:
        """SHA-256 of the peer's certificate, 32 bytes; b"" where it has shown none."""
        certificate = self.connection.getpeercert(True)
        return hashlib.sha256(certificate).digest() if certificate else b""

    def certificate(self) -> Certificate:
        """The identity in the peer's certificate; NO_CERTIFICATE where it was not checked."""
        found: dict[str, Any] = self.connection.getpeercert() or {}
        if not found:
            return NO_CERTIFICATE
        subject = {key: value for part in found.get("subject", ()) for key, value in part}
        names = tuple(value for kind, value in found.get("subjectAltName", ()) if kind == "DNS")
        return Certificate(subject.get("commonName", ""), names, self.fingerprint().hex())

    def read_into(self, view: memoryview) -> int | None:
        """Decrypt the records that are there, as far as view has room and for half a turn."""
        read, size, room = self.connection.read, 0, len(view)
        until = time.monotonic() + HALF_TURN_SECONDS  # a peer may put a byte in each record
        self.more = True
        try:
            while got := read(room - size, view[size:]):
                size += got
                if not self._incoming.pending and not self.connection.pending():
                    self.more = False  # another look would end in an exception, which is not cheap
                    break
                if size == room or time.monotonic() > until:
                    break
        except ssl.SSLWantReadError:
            self.more = False
            return size or None
        except ssl.SSLZeroReturnError:
            self.more = bool(size)
            return size
        except ssl.SSLError as error:
            if size:
                return size  # the error comes again once these are read
            raise OSError(errno.EPROTO, f"TLS: {_reason(error)}") from None
        return size

    def encode(self, buffers: Sequence[Buffer]) -> int:
        """Encrypt bytes, in records as large as possible."""
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        return self.connection.write(data) if data else 0

    def reply(self) -> None:
        """OpenSSL encodes its own with the rest."""

    def ping(self) -> bool:
        """Returns False: TLS has no ping."""
        return False


_NO_VERSION = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
"""OpenSSL's reasons: the far end's hello has no version that is spoken here; the far end says so of ours."""
_NO_CIPHER = (
    "no cipher in common: of the ciphers here (ECDHE, or the listener's cipherSuites) the client offers none,"
    " or none that fits the certificate's key"
)
_REFUSED = (
    "handshake failure: the far end finds no cipher in common (this client has ECDHE with AES or ChaCha20, or"
    " the dialer's cipherSuites), or it wants a client certificate (cert and key)"
)


def _spoken(made: Any) -> tuple[int, ...]:
    """The versions of an SSL context, in ascending order."""
    newest = TLS_1_3 if made.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED else made.maximum_version
    return tuple(version for version in (TLS_1_2, TLS_1_3) if made.minimum_version <= version <= newest)


def _to_a_client(ours: tuple[int, ...], hello: bytes) -> str:
    """What a hub says of a client whose versions are not its own; `hello` is what that client has sent."""
    theirs = versions_offered(hello)
    if not theirs:
        return f"this hub has {names(ours)}"
    have = f"the client has {names(theirs)}, this hub {names(ours)}"
    if theirs[-1] < TLS_1_2:
        return f"{have}: the client must be set to 1.2 or newer"
    if theirs[-1] < ours[0]:
        return f"{have}: write minVersion: VersionTLS12 in the tls options of the listener, or leave it out"
    return f"{have}: leave maxVersion out of the tls options of the listener"


def _to_a_hub(ours: tuple[int, ...], hello: bytes) -> str:
    """What a client says of a hub, or of a proxy before it, that speaks none of its versions.

    An alert tells that the far end has none of ours, but not which ones it has; an old one's hello does.
    """
    chosen = version_chosen(hello)
    if ours[0] > TLS_1_2:
        theirs = names((chosen,)) if chosen else "only 1.2 or older"
        advice = "write minVersion: VersionTLS12 in the tls options of the dialer, or leave it out"
    elif ours[-1] < TLS_1_3 and not chosen:
        theirs, advice = (
            "1.3 or nothing newer than 1.1",
            "leave maxVersion out of the tls options of the dialer",
        )
    else:
        theirs = names((chosen,)) if chosen else "nothing newer than 1.1"
        advice = "set it to 1.2 or newer there (nginx: ssl_protocols TLSv1.2 TLSv1.3)"
    return f"this client has {names(ours)}, the far end {theirs}: {advice}"


def _reason(error: Any) -> str:
    """OpenSSL's reason for an error, as text."""
    why = getattr(error, "verify_message", "") or (error.reason or str(error)).lower().replace("_", " ")
    return str(why)
