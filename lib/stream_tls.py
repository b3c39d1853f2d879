"""TLS as a layer over a stream: SSL contexts from settings, and the codec.

Knows: Python's ssl over memory BIOs, by which one receive brings many records, and one send takes many.
Refuses to know: sockets (stream_layer), where a hub's certificate comes from (stream_certificates).
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

from gevent import ssl

from lib.auth_admission import NO_CERTIFICATE, Certificate
from lib.errors import HostError, ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.packet import Buffer
from lib.session_cost import TURN_SECONDS
from lib.settings import TlsSettings

VERSIONS = {"": None, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_RECEIVE = 1 << 17


def context(settings: TlsSettings, server: bool) -> Any:
    """An SSLContext for these settings, a hub's without its certificate.

    Raises HostError for files that cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = VERSIONS[settings.min_version] or ssl.TLSVersion.TLSv1_3
    made.maximum_version = VERSIONS[settings.max_version] or ssl.TLSVersion.MAXIMUM_SUPPORTED
    if settings.ciphers:
        made.set_ciphers(":".join(settings.ciphers))  # those of 1.2; 1.3 has none to choose from, as in Go
    if settings.alpn:
        made.set_alpn_protocols(list(settings.alpn))
    if server:
        made.num_tickets = 0  # clients never resume a TLS session, and each ticket costs a message
        made.verify_mode = ssl.CERT_REQUIRED if settings.ca_file else ssl.CERT_NONE
    else:
        _trust(made, settings)
    if settings.ca_file:
        _load(settings.ca_file, lambda: made.load_verify_locations(settings.ca_file))
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


def load_certificate(made: Any, cert_file: str, key_file: str) -> None:
    """Load a certificate and its key into an SSLContext. Raises HostError with the file's name."""
    _load(
        f"{cert_file}, {key_file or cert_file}",
        lambda: made.load_cert_chain(cert_file, key_file or cert_file),
    )


def _load(name: str, load: Any) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise HostError(f"{name}: no usable certificate and key: {_reason(error)}") from None
    except OSError as error:
        raise HostError(f"{name}: {error.strerror or error}") from None


class TlsCodec:
    """The codec of one TLS connection (stream_layer.Codec)."""

    name = "TLS"
    landing = memoryview(bytearray(_RECEIVE))

    def __init__(self, made: Any, server: bool, server_name: str = "", pin: bytes = b"") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else server_name or None
        self.connection = made.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )
        self._pin = pin
        self.more = False
        self.output = self._outgoing.read
        self.feed = self._incoming.write

    def handshake(self) -> bool:
        """Go on with the handshake; returns whether it is done. Raises ProtocolError."""
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise ProtocolError(f"TLS: {_reason(error)}", Refusal.TRANSPORT) from None
        if self._pin and not hmac.compare_digest(self._pin, self.fingerprint()):
            raise ProtocolError(
                f"TLS: the hub's certificate is sha256:{self.fingerprint().hex()}, not the one pinned",
                Refusal.TRANSPORT,
            )
        return True

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
        """Decrypt the records that are there, as far as view has room, for a turn's time."""
        read, size, room = self.connection.read, 0, len(view)
        until = time.monotonic() + TURN_SECONDS  # a peer may put a byte in each record
        self.more = True
        try:
            while got := read(room - size, view[size:]):
                size += got
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


def _reason(error: Any) -> str:
    """OpenSSL's reason for an error, as text."""
    why = getattr(error, "verify_message", "") or (error.reason or str(error)).lower().replace("_", " ")
    return str(why)
