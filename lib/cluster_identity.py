"""Certificates of a link between two hubs, made of a cluster's secret: whoever shows one has the secret.

Knows: how the authority of a cluster is found from its secret, TLS contexts of both ends.
Refuses to know: what is said over a link (cluster_link), how registry entries are signed (cluster_seal),
hubs that have no secret in common (cluster_trust).

    secret -> HMAC -> the private key of the cluster's authority: the same at every hub, written nowhere
    each hub, at its start: a key and a certificate of its own, with its name, signed by the authority
    each end of a link: TLS 1.3, a certificate by the authority is wanted, and the name of the hub in it

So each end proves to the other that it has the secret, before a byte of a packet is sent. A secret that can
be guessed would be found from one handshake, so a short one is refused (config_cluster).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
from typing import Any

from gevent import ssl

from lib.auth_admission import Certificate
from lib.cluster_seal import key_for
from lib.errors import HostError

YEARS = 20
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256 (FIPS 186-4, D.1.2.3): a private key is a number below it."""
_WIDE = hashlib.sha512


class LinkIdentity:
    """The TLS contexts of one hub."""

    def __init__(self, name: str, secret: bytes) -> None:
        """Make a certificate for the hub of this name. Raises HostError where OpenSSL cannot load it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        # 512 bits modulo the order: no number is likelier than another one (FIPS 186-5, A.2.1).
        wide = int.from_bytes(hmac.digest(key_for(secret, "authority"), b"P-256", _WIDE), "big")
        authority = ec.derive_private_key(wide % (_ORDER - 1) + 1, ec.SECP256R1())
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a cluster of tunrouter")])
        now = datetime.datetime.now(datetime.UTC)

        def made(subject: x509.Name, public: Any, is_authority: bool) -> bytes:
            certificate = (
                x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=365))  # clocks differ
                .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
                .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
                .sign(authority, hashes.SHA256())
            )
            return certificate.public_bytes(serialization.Encoding.PEM)

        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        trusted = made(issuer, authority.public_key(), True).decode()
        shown = private + made(subject, key.public_key(), False)
        self.server = link_context(ssl.PROTOCOL_TLS_SERVER, trusted, shown)
        self.client = link_context(ssl.PROTOCOL_TLS_CLIENT, trusted, shown)

    def name_of(self, certificate: Certificate) -> str:
        """The name of the hub that has shown a certificate of this cluster."""
        return certificate.common_name


def link_context(protocol: Any, trusted: str, shown: bytes) -> Any:
    """A TLS context of one end of a link: `trusted` and `shown` are PEM, the latter with its key.

    Raises HostError where OpenSSL cannot load it.
    """
    made = ssl.SSLContext(protocol)
    made.check_hostname = False  # the name in a certificate is a hub's, and cluster_links compares it
    made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_verify_locations(cadata=trusted)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        made.num_tickets = 0
    # OpenSSL reads certificates and keys from files only: this one is in memory, and nobody else can open it.
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, shown)
        made.load_cert_chain(f"/proc/self/fd/{file}")
    except OSError as error:
        raise HostError(f"a certificate for links between hubs cannot be loaded: {error}") from None
    finally:
        os.close(file)
    return made
