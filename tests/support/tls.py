"""TLS certificates for tests: a certificate authority, and certificates signed by it.

Knows: how they are made, in which files they are. Refuses to know: what they are used for.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate's file and its key's, and its SHA-256 in hex."""

    cert: str
    key: str
    fingerprint: str


class Authority:
    """Signs certificates into a directory; its own is `ca.cert`."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"test {name}")
        self.ca = self._write(name, self._signed(self._name, self._key, True, ()), self._key)

    def issue(
        self,
        name: str,
        *names: str,
        common_name: str = "",
        file: str = "",
        days: float = 0.0,
        lasts: float = 2.0,
    ) -> Pair:
        """A certificate for DNS names, the first also its common name; valid for `lasts` days from `days` on."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name or name)
        return self._write(file or name, self._signed(subject, key, False, (name, *names), days, lasts), key)

    def _signed(
        self,
        subject: x509.Name,
        key: Any,
        is_ca: bool,
        names: tuple[str, ...],
        days: float = 0.0,
        lasts: float = 2.0,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=lasts))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(text) for text in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: Any) -> Pair:
        cert, private = self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        der = certificate.public_bytes(serialization.Encoding.DER)
        return Pair(str(cert), str(private), hashlib.sha256(der).hexdigest())


def self_signed(
    path: Path,
    name: str,
    key: Any,
    begins: float | None = None,
    ends: float | None = None,
    issuer: tuple[x509.Certificate, Any] | None = None,
) -> None:
    """Write a certificate and its key into one file: signed by itself, or by an `issuer` (certificate, key).

    `begins` and `ends` are in seconds since 1970.
    """
    now = datetime.datetime.now(datetime.UTC)

    def moment(seconds: float | None, days: float) -> datetime.datetime:
        if seconds is None:
            return now + datetime.timedelta(days=days)
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

    above, signing = (issuer[0].subject, issuer[1]) if issuer is not None else (_name(name), key)
    certificate = (
        x509.CertificateBuilder(above, _name(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(moment(begins, -1))
        .not_valid_after(moment(ends, 1))
        .add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )  # as openssl req -x509
        .sign(signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
