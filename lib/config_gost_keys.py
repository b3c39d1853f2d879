"""Every type and metadata key of GOST: which work here, which are not supported yet, which have no effect.

Knows: the words of GOST's handlers, listeners, connectors and dialers.
Refuses to know: how they are checked (config_metadata for keys, config_client and config_hub for types).
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.config_section import words
from lib.did_you_mean import did_you_mean

HANDLERS = words(
    "auto dns file forward http http2 http3 masque metrics api redir redirect red redu relay router rtcp "
    "rudp runix serial sni socks socks4 socks4a socks5 ss ssu sshd tap tcp udp tun tungo tunnel unix"
)
LISTENERS = words(
    "dns dtls ftcp grpc h2 h2c http2 http3 h3 wt icmp icmp6 kcp mtcp mtls mux mws mwss obfs ohttp otls pht "
    "phts quic redir redirect red redu rtcp rudp runix serial ssh sshd stdio tap tcp tls tun tungo udp "
    "unix ws wss"
)
CONNECTORS = words(
    "direct forward http http2 masque relay router serial sni socks socks4 socks4a socks5 ss ssu sshd tcp "
    "tunnel unix virtual"
)
DIALERS = words(
    "direct dtls ftcp grpc h2 h2c http2 http3 h3 wt icmp icmp6 kcp mtcp mtls mux mws mwss obfs ohttp "
    "ohttps otls pht phts quic serial ssh sshd tcp tls udp unix utls virtual wg ws wss"
)

TRANSPORTS = words("tcp tls ws wss")
"""Types of listeners and dialers that a session can use."""
PROXIES = {"socks5": "socks5", "socks": "socks5", "socks4": "socks4", "socks4a": "socks4", "http": "http"}
"""Connector type of a proxy on the way to the hub -> the protocol it speaks."""
MULTIPLEXED = {"mtls": "tls", "mws": "ws", "mwss": "wss"}
"""GOST's transports with multiplexing (smux), which a routing tunnel has not -> the one without."""

STRATEGIES = ("fifo", "round", "rand", "hash")
DUPLICATES = ("share", "replace", "refuse")
LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True)
class Key:
    """A metadata key: the layer that reads it, and whether it works."""

    name: str
    """The key as GOST's documentation spells it."""
    layer: str
    """The section whose metadata has it: service, handler, listener, hop, node, connector or dialer."""
    not_yet: bool = False
    """Whether it is an error, because it belongs to a routing tunnel and is not supported yet."""
    odd: str = ""
    """Why it has no effect, for a warning; empty when it works."""


Keys = dict[str, Key]
"""Metadata key in lower case -> Key."""


def _works(layer: str, text: str) -> Keys:
    return {key.lower(): Key(key, layer) for key in text.split()}


def _to_come(layer: str, text: str) -> Keys:
    return {key.lower(): Key(key, layer, not_yet=True) for key in text.split()}


def _odd(layer: str, reason: str, text: str) -> Keys:
    return {key.lower(): Key(key, layer, odd=reason) for key in text.split()}


_FOREIGN = "means nothing to a routing tunnel"
_UDP_PEER = "is for GOST's UDP peers and without effect on a router"

_SERVICE: Keys = {
    **_to_come(
        "service", "preUp postUp preDown postDown interface so_mark netns netns.out proxyProtocol labels"
    ),
    **_to_come("service", "observer.period observePeriod observer.observePeriod enableStats"),
    **_to_come("service", "limiter.refreshInterval limiter.scope"),
    # -L leaves these in metadata after it has made limiters of them
    **_works("service", "limiter.in limiter.out limiter.conn.in limiter.conn.out climiter rlimiter"),
    **_to_come("listener", "admission"),
    **_odd("service", "has nothing to clean up here", "limiter.cleanupInterval"),
    **_odd("service", _FOREIGN, "retries timeout nodelay hash sniffing sniffing.timeout sniffing.websocket"),
    **_odd("service", _FOREIGN, "mux backlog bind udp udpBufferSize udp.bufferSize ttl secure validity"),
    **_odd("service", _FOREIGN, "bypass resolver hosts recorder observeTraffic enableTLS mptcp idleTimeout"),
}

_TUN_LISTENER = "name net peer mtu route routes gw"
_TUN_TO_COME = "router dns"
_TUN_HANDLER = "keepalive ttl token p2p"


def _prefixed(prefix: str, text: str) -> str:
    return " ".join(prefix + word for word in text.split())


HUB_KEYS: Keys = {
    **_SERVICE,
    **_works("listener", "keepalive.idle keepalive.interval keepalive.count reuseport"),
    **_odd("listener", "is always on here", "keepalive"),
    **_works("listener", "path ws.path header ws.header"),
    **_to_come(
        "handler", "skipauth entrypoint sd sd.cache.expiration sd.renewInterval observer.resetTraffic"
    ),
    **_works("handler", "router router.cache router.cache.expiration ingress readTimeout"),
    **_works("handler", "sourceCheck superpackets domain handshakeTimeout onDuplicate certHosts"),
    **_works("handler", "keepalive.timeout drainTimeout queueMemory trustedProxies trustedProxies.header"),
    **_odd("handler", "means nothing here: packets of any size pass", "router.bufferSize bufferSize"),
}
"""The keys of a hub: a service with handler router."""

CLIENT_KEYS: Keys = {
    **_SERVICE,
    **_odd(
        "handler", _UDP_PEER, _TUN_HANDLER + " passphrase tun.passphrase " + _prefixed("tun.", _TUN_HANDLER)
    ),
    **_to_come("service", "dialTimeout"),
    **_odd("listener", "is for Windows", "guid tun.guid"),
    **_odd("listener", _FOREIGN, "readBufferSize readQueueSize bufferSize tun.bufferSize"),
    **_works("handler", "superpackets keepalive.timeout"),
    **_works("listener", _TUN_LISTENER + " " + _prefixed("tun.", _TUN_LISTENER)),
    **_to_come("listener", _TUN_TO_COME + " " + _prefixed("tun.", _TUN_TO_COME)),
}
"""The keys of a client: a service with handler tun."""

CHAIN_KEYS: Keys = {
    **_to_come("node", "interface so_mark netns proxyProtocol weight backup maxFails failTimeout"),
    **_works("dialer", "path ws.path header ws.header host ws.host keepalive ttl pin"),
    **_works("dialer", "keepalive.idle keepalive.interval keepalive.count"),
    **_odd("dialer", "is part of connectTimeout here", "handshakeTimeout"),
    **_odd("connector", _FOREIGN, "timeout nodelay retries mux bypass resolver hosts udp idleTimeout hash"),
    # -F leaves these in the hop's metadata after it has used them
    **_works("hop", "auth cert certFile key keyFile ca caFile secure serverName"),
    **_works("hop", _prefixed("tls.", "certFile keyFile caFile secure serverName")),
    **_works("connector", "router.id connectTimeout"),
}
"""The keys of a hop, its nodes, and their connectors and dialers."""

_OWNERS = (
    ("a service with handler router", HUB_KEYS),
    ("a service with handler tun", CLIENT_KEYS),
    ("a node of a chain", CHAIN_KEYS),
)


def key_hint(word: str, keys: Keys) -> str:
    """A hint for a metadata key that is not in `keys`: where it belongs, or how it is spelt; "" for none."""
    for owner, others in _OWNERS:
        known = others.get(word.lower())
        if known and not known.odd:
            return f"it belongs to the {known.layer} metadata of {owner}"
    return did_you_mean(word, [key.name for key in keys.values() if not key.odd])
