"""The `plugin` section of a table, a limiter or a hop, checked and turned into PluginSettings.

Knows: the two types, GOST's default of grpc, which keys of a plugin's tls section have an effect.
Refuses to know: what a plugin is asked for (plugin_client).
"""

from __future__ import annotations

import re

from lib.addresses import host_port, join_host_port, url_host
from lib.config_findings import Findings
from lib.config_schema import Plugin
from lib.config_schema_tls import Tls
from lib.config_transport import checked_name
from lib.did_you_mean import did_you_mean
from lib.go_values import SECONDS
from lib.settings_sources import PluginSettings

DEFAULT_TIMEOUT = 10.0
TYPES = ("http", "grpc")

_HTTP_URL = re.compile(r"https?://[^\s/?#]+([/?][^\s#]*)?", re.IGNORECASE)


def plugin_settings(plugin: Plugin, found: Findings) -> PluginSettings | None:
    """The settings of one plugin; None where its type or address is wrong, which is a problem in `found`."""
    kind = plugin.type.lower() or "grpc"
    if kind not in TYPES:
        hint = did_you_mean(kind, TYPES) or "http, or grpc, which no type means"
        found.error(plugin.where("type"), f"unknown plugin type {plugin.type[:64]!r}", hint)
        return None
    if plugin.timeout < 0:
        found.error(plugin.where("timeout"), "a timeout below zero")
    url = _http(plugin) if kind == "http" else _grpc(plugin)
    if url is None:
        found.error(
            plugin.where("addr"), f"not the address of a {kind} plugin: {plugin.addr[:100]!r}", _HINT[kind]
        )
        return None
    tls = plugin.tls
    _warn_unread_tls(tls, found)
    return PluginSettings(
        url=url,
        token=plugin.token,
        timeout=plugin.timeout / SECONDS if plugin.timeout > 0 else DEFAULT_TIMEOUT,
        verify=tls.secure if tls else True,  # as GOST: no tls section verifies, one without secure does not
        server_name=checked_name(tls, found) if tls else "",
    )


_HINT = {
    "http": "as in http://127.0.0.1:8000",
    "grpc": "as in 127.0.0.1:8000; a URL needs type: http",
}


def _http(plugin: Plugin) -> str | None:
    url = plugin.addr if "://" in plugin.addr else f"http://{plugin.addr}"
    if not _HTTP_URL.fullmatch(url):
        return None
    try:
        url_host(url)
    except ValueError:
        return None
    return url


def _grpc(plugin: Plugin) -> str | None:
    try:
        host, port = host_port(plugin.addr)
    except ValueError:
        return None
    if not host or not port:
        return None
    return f"{'grpcs' if plugin.tls else 'grpc'}://{join_host_port(host, port)}"


def _warn_unread_tls(tls: Tls | None, found: Findings) -> None:
    if tls and (tls.cert_file or tls.key_file or tls.ca_file or tls.options):
        found.warn(tls.where(), "of a plugin's tls section only secure and serverName are read, as in GOST")
    if tls and not tls.secure:
        found.warn(
            tls.where(), "a plugin's tls section without secure: true accepts any certificate, as in GOST"
        )
