"""TLS as a layer over a stream: contexts from settings, and the codec.

Knows: Python's ssl over memory BIOs: one receive brings many records, one send takes many.
Refuses to know: sockets (stream_layer), where a hub's certificate comes from (stream_certificates).
"""

from __future__ import annotations

import errno
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from gevent import ssl

from lib.auth_admission import NO_CERTIFICATE, Certificate
from lib.errors import HostError, ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.packet import Buffer
from lib.settings import TlsSettings

VERSIONS = {"": None, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_RECEIVE = 1 << 17


def context(settings: TlsSettings, server: bool) -> Any:
    """An SSLContext with all but a hub's own certificate. Raises HostError for files that cannot be used."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = VERSIONS[settings.min_version] or ssl.TLSVersion.TLSv1_3
    made.maximum_version = VERSIONS[settings.max_version] or ssl.TLSVersion.MAXIMUM_SUPPORTED
    if settings.ciphers:
        made.set_ciphers(":".join(settings.ciphers))  # those of 1.2; 1.3 has none to choose from, as in Go
    if settings.alpn:
        made.set_alpn_protocols(list(settings.alpn))
    if server:
        made.num_tickets = 0  # nobody resumes, and each costs a message
        made.verify_mode = ssl.CERT_REQUIRED if settings.ca_file else ssl.CERT_NONE
    else:
        _trust(made, settings)
    if settings.ca_file:
        _load(settings.ca_file, lambda: made.load_verify_locations(settings.ca_file))
    if not server and settings.cert_file:
        load_certificate(made, settings.cert_file, settings.key_file)
    return made


def _trust(made: Any, settings: TlsSettings) -> None:
    """GOST's rule: secure checks chain and name, a CA file alone the chain only, nothing else nothing."""
    checked = not settings.pin and (settings.verify or settings.ca_file)
    made.check_hostname = bool(checked and settings.verify)
    made.verify_mode = ssl.CERT_REQUIRED if checked else ssl.CERT_NONE
    if checked and not settings.ca_file:
        made.load_default_certs()


def load_certificate(made: Any, cert_file: str, key_file: str) -> None:
    """Raises HostError with the file's name."""
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
    """One TLS connection's bytes."""

    name = "TLS"
    landing = memoryview(bytearray(_RECEIVE))

    def __init__(self, made: Any, server: bool, server_name: str = "", pin: bytes = b"") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else server_name or None
        self.connection = made.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )
        self._pin = pin
        self.output = self._outgoing.read
        self.feed = self._incoming.write

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done."""
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
        """SHA-256 of the far end's certificate, b"" where it gave none."""
        certificate = self.connection.getpeercert(True)
        return hashlib.sha256(certificate).digest() if certificate else b""

    def certificate(self) -> Certificate:
        """What the far end's certificate says, if it was checked."""
        found: dict[str, Any] = self.connection.getpeercert() or {}
        if not found:
            return NO_CERTIFICATE
        subject = {key: value for part in found.get("subject", ()) for key, value in part}
        names = tuple(value for kind, value in found.get("subjectAltName", ()) if kind == "DNS")
        return Certificate(subject.get("commonName", ""), names, self.fingerprint().hex())

    def read_into(self, view: memoryview) -> int | None:
        """Decrypt every record that is there, as far as view has room."""
        read, size, room = self.connection.read, 0, len(view)
        try:
            while size < room:
                got = read(room - size, view[size:])
                if not got:
                    break
                size += got
        except ssl.SSLWantReadError:
            return size or None
        except ssl.SSLZeroReturnError:
            return size
        except ssl.SSLError as error:
            if size:
                return size  # the error comes again once these are read
            raise OSError(errno.EPROTO, f"TLS: {_reason(error)}") from None
        return size

    def encode(self, buffers: Sequence[Buffer]) -> int:
        """Encrypt, in records as large as they may be."""
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        return self.connection.write(data) if data else 0

    def ping(self) -> bool:
        """TLS has none."""
        return False


def _reason(error: Any) -> str:
    """What OpenSSL says, in words."""
    why = getattr(error, "verify_message", "") or (error.reason or str(error)).lower().replace("_", " ")
    return str(why)
