"""The `tls` section of a configuration: certificates, versions, ciphers.

Knows: every key of GOST that it may have. Refuses to know: what they mean (config_transport).
"""

from __future__ import annotations

import msgspec

from lib.config_section import Section
from lib.go_values import Duration


class TlsOptions(Section):
    """TLS versions and ciphers."""

    min_version: str = ""
    max_version: str = ""
    cipher_suites: list[str] = []
    alpn: list[str] = []


class Tls(Section):
    """Certificates, and how the other side's certificate is checked."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    secure: bool = False
    server_name: str = ""
    options: TlsOptions | None = None
    validity: Duration = Duration(0)
    common_name: str = ""
    organization: str = ""
    reject_unknown_sni: bool = msgspec.field(default=False, name="rejectUnknownSNI")
    server_names: list[str] = []
