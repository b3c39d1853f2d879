"""Problems of `tunrouter check` with certificates and keys: files that cannot be used, and their dates.

Knows: which files a start would load. Refuses to know: other paths (config_check_start), TLS (stream_tls).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from gevent import ssl

from lib import stream_certificates, stream_tls
from lib.config_check_start import cannot_be_made
from lib.config_findings import Findings
from lib.config_schema import Api, Config, Dialer, Listener
from lib.config_schema_redis import Redis
from lib.config_schema_tls import Tls
from lib.config_section import walk
from lib.errors import HostError, Position
from lib.settings import HubSettings, Settings
from lib.settings_transport import TlsSettings

_FIELDS = {"cert_file": "certFile", "key_file": "keyFile", "ca_file": "caFile"}


def look(config: Config, settings: Settings, found: Findings) -> None:
    """Add what is wrong with the certificates that a start with these settings would load."""
    services = {service.name: service for service in config.services}
    served = {_files(hub.transport.tls) for hub in settings.hubs if hub.transport.encrypted}
    if settings.api is not None and settings.api.tls is not None:
        served.add(_files(settings.api.tls))
    dialled = {
        _files(node.transport.tls)
        for client in settings.clients
        for node in client.nodes
        if node.transport.encrypted
    }
    seen = set()
    for section, is_hub in _tls_sections(config):
        files = (section.cert_file, section.key_file, section.ca_file)
        if files in (served if is_hub else dialled) and (files, is_hub) not in seen:
            seen.add((files, is_hub))
            _pair(section, is_hub, found)
            _authorities(section, found)
    for redis in walk(config):
        if isinstance(redis, Redis) and redis.tls is not None:
            _pair(redis.tls, False, found)
            _authorities(redis.tls, found)
    _cluster(config, settings, found)
    for hub in settings.hubs:
        if hub.transport.encrypted and not hub.transport.tls.cert_file:
            _made(hub, services[hub.name].where("listener"), found)


def _cluster(config: Config, settings: Settings, found: Findings) -> None:
    """Look at the certificates of hubs of a cluster, and say the pin by which others know this one."""
    link = config.cluster.link if config.cluster is not None else None
    if settings.cluster is None or link is None or link.tls is None:
        return
    from lib.cluster_trust import Trust  # a megabyte that only hubs of clusters pay for

    try:
        mark = hashlib.sha256(Trust(settings.cluster).certificate).hexdigest()
    except HostError as error:
        found.error(link.tls.where(), f"cluster: {error}")
        return
    text = f"cluster: this hub is known by pin sha256:{mark}, for trust at the others"
    found.notice(link.tls.where("cert_file"), text)


def _tls_sections(config: Config) -> Iterator[tuple[Tls, bool]]:
    """Every tls section, and the default for listeners: (section, whether it is a server's)."""
    if config.tls is not None:
        yield config.tls, True
    for section in walk(config):
        if isinstance(section, Listener | Dialer | Api) and section.tls is not None:
            yield section.tls, not isinstance(section, Dialer)


def _files(tls: TlsSettings) -> tuple[str, str, str]:
    return tls.cert_file, tls.key_file, tls.ca_file


def _pair(section: Tls, is_hub: bool, found: Findings) -> None:
    cert, key = section.cert_file, section.key_file or section.cert_file
    if not cert:
        return
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_hub else ssl.PROTOCOL_TLS_CLIENT)
    try:
        stream_tls.load_certificate(made, cert, key)
    except stream_tls.BadFile as bad:
        field = "key_file" if bad.file == section.key_file else "cert_file"
        found.error(section.where(field), f"{_FIELDS[field]!r}: {bad}")
        return
    wrong = _out_of_time(cert)
    if wrong:
        found.warn(section.where("cert_file"), f"'certFile': {cert}: {wrong}")


def _authorities(section: Tls, found: Findings) -> None:
    if section.ca_file:
        try:
            stream_tls.load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), section.ca_file)
        except stream_tls.BadFile as bad:
            found.error(section.where("ca_file"), f"'caFile': {bad}")


def _out_of_time(cert: str) -> str:
    """What is wrong with the time in which a certificate is valid; empty for nothing."""
    from cryptography import x509  # 8 MB that only this needs

    try:
        certificate = x509.load_pem_x509_certificate(Path(cert).read_bytes())
    except (OSError, ValueError):
        return ""
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        return f"the certificate has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        return f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return ""


def _made(hub: HubSettings, where: Position, found: Findings) -> None:
    """Look at the certificate that a hub without one of its own takes, or makes."""
    files = stream_certificates.HERE
    if not all(map(os.path.exists, files)):
        directory = stream_certificates.state_directory()
        files = str(directory / files[0]), str(directory / files[1])
        if not all(map(os.path.exists, files)):
            wrong = cannot_be_made(files[0], with_directory=True)
            if wrong:
                text = f"service {hub.name}: the certificate that it makes cannot be kept: {wrong}"
                found.warn(where, text, "pins fail after the next start; write certFile and keyFile")
            return
    try:
        stream_tls.load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *files)
    except stream_tls.BadFile as bad:
        found.error(where, f"service {hub.name} names no certificate and takes {files[0]}: {bad}")
