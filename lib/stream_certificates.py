"""A hub's TLS certificate: loaded from files, read again when they change, made where there is none.

Knows: where a certificate that was made is kept, fingerprints. Refuses to know: handshakes (stream_tls).
"""

from __future__ import annotations

import _ssl
import datetime
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from gevent import ssl

from lib import stream_tls
from lib.errors import HostError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say, settle
from lib.service_files import write_whole
from lib.service_threads import aside
from lib.settings_transport import TlsSettings

TEN_YEARS = 10 * 365 * 86400.0
LOOK_SECONDS = 1.0
"""How long a handshake waits for the disk of the certificate."""
HERE = ("cert.pem", "key.pem")
"""Names of GOST's default certificate and key, in the working directory."""


_BY_ROOT = os.geteuid() == 0
"""Whether root has started this process, which may become another user (`user:`) later."""


def state_directory() -> Path:
    """The directory in which a certificate that was made is kept, and leases of pools."""
    if _BY_ROOT:
        return Path("/var/lib/tunrouter")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tunrouter"


class Identity:
    """A hub's certificate, as SSL contexts for its handshakes."""

    def __init__(self, settings: TlsSettings) -> None:
        """Load the certificate, or make one. Raises HostError where the configured files cannot be used."""
        self._settings = settings
        self._is_late = False
        self._files = self._find()
        try:
            self._seen, self._context, self._mark = aside(
                self._files[0], lambda: (self._look(), self._load(), self._read_mark())
            )
        except TimeoutError as error:
            raise HostError(f"{self._files[0]}: {error.strerror}") from None

    def context(self) -> Any:
        """The SSL context for the next handshake.

        Files that have changed are loaded again. Where they cannot be used, the last good ones stay in use.
        """
        file = self._files[0]
        try:
            found = aside(file, self._changed, seconds=LOOK_SECONDS)
            if self._is_late:
                self._is_late = False
                over(Entry.CERTIFICATE_FAILED, file)
            if found is not None:
                self._context, self._mark = found
                mark = f"sha256:{self._mark}"
                settle(Entry.CERTIFICATE_FAILED, file)
                over(Entry.CERTIFICATE_FAILED, file)
                text = "certificate %s read again: %s"
                say(Entry.CERTIFICATE_RELOADED, text, file, mark, file=file, fingerprint=mark)
        except (HostError, TimeoutError) as error:
            self._is_late = isinstance(error, TimeoutError)
            reason = f"{file}: {error.strerror}" if isinstance(error, TimeoutError) else str(error)
            text = "certificate not read again: %s; the one before stays"
            say(Entry.CERTIFICATE_FAILED, text, reason, fold=file, habit=OUTAGE, file=file, reason=reason)
        return self._context

    def _changed(self) -> tuple[Any, str] | None:
        """The context and the fingerprint of files that have changed; None where they have not.

        Raises HostError where they cannot be used; they are not looked at again before they change once more.
        """
        seen = self._look()
        if seen == self._seen or None in seen[:2]:  # another user may not be able to see them any more
            return None
        self._seen = seen
        return self._load(), self._read_mark()

    def fingerprint(self) -> str:
        """SHA-256 of the certificate in hex digits, for the pin of a client.

        It is that of the certificate in use: another user (`user:`) may not be able to read its file.
        """
        self.context()
        return self._mark

    def _read_mark(self) -> str:
        text = Path(self._files[0]).read_text(encoding="ascii", errors="replace")
        try:
            first = text[text.index("-----BEGIN CERT") : text.index("-----END CERT") + 25]
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
        except ValueError:
            raise HostError(f"{self._files[0]}: holds no certificate") from None

    def _find(self) -> tuple[str, str]:
        settings = self._settings
        if settings.cert_file:
            return settings.cert_file, settings.key_file or settings.cert_file
        if all(map(os.path.exists, HERE)):
            return HERE
        return _kept(settings)

    def _look(self) -> tuple[object, ...]:
        return tuple(map(_stamp, (*self._files, self._settings.ca_file)))

    def _load(self) -> Any:
        made = stream_tls.context(self._settings, server=True)
        stream_tls.load_certificate(made, *self._files)
        if self._settings.reject_unknown_sni:
            only = _only(self._settings.server_names or _names(self._files[0]))
            base: Any = _ssl._SSLContext  # gevent's own setter wants sockets, not BIOs
            base.sni_callback.__set__(made, only)
        return made


def _stamp(path: str) -> object:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _only(names: tuple[str, ...]) -> Any:
    """A callback for SNI that ends handshakes for other names than these."""
    known = {name.lower() for name in names}

    def check(connection: Any, name: str | None, context: Any) -> int | None:
        wanted = (name or "").lower()
        wild = "*." + wanted.partition(".")[2]
        return None if wanted in known or wild in known else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    return check


def _names(path: str) -> tuple[str, ...]:
    """The DNS names of a certificate."""
    from cryptography import x509  # 8 MB that only this needs

    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        return ()


def needs_cryptography(settings: TlsSettings) -> bool:
    """Whether a hub's certificate would have to be made now, or its names read."""
    if settings.reject_unknown_sni and not settings.server_names:
        return True
    kept = map(str, (state_directory() / name for name in HERE))
    return (
        not settings.cert_file and not all(map(os.path.exists, HERE)) and not all(map(os.path.exists, kept))
    )


def _kept(settings: TlsSettings) -> tuple[str, str]:
    """(certificate file, key file) of the certificate that was made once; made where it is missing.

    Where it cannot be kept, it is made for this run only, with a warning.
    """
    directory = state_directory()
    files = str(directory / HERE[0]), str(directory / HERE[1])
    if all(map(os.path.exists, files)):
        return files
    certificate, key = make(settings)
    try:
        aside(str(directory), _keep, directory, files, certificate, key)
        say(Entry.CERTIFICATE_MADE, "certificate made and kept in %s", files[0], file=files[0])
        return files
    except OSError as error:
        reason = error.strerror or str(error)
        say(
            Entry.CERTIFICATE_NOT_KEPT,
            "certificate cannot be kept in %s: %s; the next start makes another, pins of this one fail",
            *(directory, reason),
            directory=directory,
            reason=reason,
        )
    where = tempfile.mkdtemp(prefix="tunrouter-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    fallback = os.path.join(where, HERE[0]), os.path.join(where, HERE[1])
    write_whole(fallback[1], key)
    write_whole(fallback[0], certificate)
    return fallback


def _keep(directory: Path, files: tuple[str, str], certificate: bytes, key: bytes) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(files[1], key)
    write_whole(files[0], certificate)


def make(settings: TlsSettings) -> tuple[bytes, bytes]:
    """Make a self-signed certificate with a P-256 key; returns (certificate, key) as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    common_name = settings.common_name or "tunrouter"
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if settings.organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, settings.organization))
    name = x509.Name(parts)
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(text) for text in settings.server_names or (common_name,)]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(seconds=settings.validity or TEN_YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
