"""Every type and metadata key of GOST: which work here, which are not supported yet, which have no effect.

Knows: the words of GOST's handlers, listeners, connectors and dialers.
Refuses to know: how they are checked (config_metadata for keys, config_client and config_hub for types).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib import config_url_keys
from lib.config_no_effect import BY_REQUEST, OTHER_HANDLERS, UNNAMED
from lib.config_own_keys import place_of_own
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
ALSO_STRATEGIES = {"ha": "fifo", "rr": "round", "random": "rand"}
"""GOST's other words for them."""
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
    also: str = ""
    """A second section that has it, whose value counts where `layer` has none."""
    instead: str = ""
    """What is written in a file, where only a URL has the key (config_url_keys); empty for all others."""

    @property
    def works(self) -> bool:
        """Whether it has an effect in metadata."""
        return not (self.odd or self.not_yet or self.instead)


Keys = dict[str, Key]
"""Metadata key in lower case -> Key."""


def _works(layer: str, text: str, also: str = "") -> Keys:
    return {key.lower(): Key(key, layer, also=also) for key in text.split()}


def _to_come(layer: str, text: str) -> Keys:
    return {key.lower(): Key(key, layer, not_yet=True) for key in text.split()}


def _of_urls(layer: str, text: str, tls: str = "", auth: str = "") -> Keys:
    """Keys that only a URL has; in a file `tls` and `auth` are the sections that have these."""
    return {
        key.lower(): Key(key, layer, instead=config_url_keys.instead(key, tls, auth)) for key in text.split()
    }


def _odd(layer: str, reason: str, text: str) -> Keys:
    return {key.lower(): Key(key, layer, odd=reason) for key in text.split()}


_ALWAYS = "is always on here"
_BUFFERS = "means nothing here: packets of any size pass"
_IN_TIME = "is part of handshakeTimeout here"
_UNCOMPRESSED = "is not supported yet: nothing is compressed, which every peer takes"
_NO_USE = "is of no use on the way to a hub"
_OF_THE_HUB = "counts for the whole way, and is read at the hub's node"
_MUX = "type version keepaliveDisabled keepaliveInterval keepaliveTimeout maxFrameSize maxReceiveBuffer"
_MUX += " maxStreamBuffer maxStreamWindow"
_WS_BUFFERS = "readBufferSize writeBufferSize ws.readBufferSize ws.writeBufferSize"
_UDP_PEER = "is for GOST's UDP peers and without effect on a router"

HUB_DIALS_NOBODY = "is for connections that a service makes, and a hub makes none"
SERVICE_WITH_CHAIN = (
    "is for a service without a chain, in GOST too, and not for the way to a hub: write it in the hop or node"
)

SERVICE_KEYS = ("interface", "sockopts", "resolver", "hosts")
"""Keys of a service section whose reason depends on its role."""
_SERVICE: Keys = {
    **_works("service", "preUp postUp preDown postDown hookTimeout"),
    **_works("service", "labels enableStats"),
    **_works(
        "service", "observer.period observePeriod observer.observePeriod observer.resetTraffic", "handler"
    ),
    **_of_urls("service", config_url_keys.LIMITS),
    **_odd("service", "has nothing to clean up here", "limiter.cleanupInterval"),
    **_odd(
        "service", OTHER_HANDLERS, "timeout hash sniffing sniffing.timeout sniffing.websocket mux bind udp"
    ),
    **_odd("service", OTHER_HANDLERS, "udpBufferSize udp.bufferSize ttl idleTimeout recorder observeTraffic"),
    **_odd("service", OTHER_HANDLERS, "enableTLS"),
    **_odd("service", "is asked by no handler of a routing tunnel, in GOST neither", "bypass"),
    **_odd("service", UNNAMED, "resolver hosts"),
    **_odd("service", _ALWAYS, "nodelay"),
    **_odd("listener", "is for clients: a listener checks certificates by caFile alone", "secure"),
    **_odd("listener", "is a key of the section tls, and read there", "validity"),
    **_odd(
        "listener",
        "means nothing here: as many connections may wait as net.core.somaxconn says",
        "backlog ws.backlog",
    ),
}

_TUN_LISTENER = "name net peer mtu route routes gw dns"
_TUN_TO_COME = "router"
_TUN_HANDLER = "keepalive ttl token p2p"


def _prefixed(prefix: str, text: str) -> str:
    return " ".join(prefix + word for word in text.split())


HUB_KEYS: Keys = {
    **_works("service", "limiter.refreshInterval", "handler"),
    **_works("service", "limiter.scope"),
    **_of_urls("listener", f"auth {config_url_keys.TLS}", "the listener", "the handler"),
    **_SERVICE,
    **_works("listener", "keepalive.idle keepalive.interval keepalive.count reuseport mptcp congestion"),
    **_odd("listener", _ALWAYS, "keepalive"),
    **_odd("service", HUB_DIALS_NOBODY, "interface so_mark retries"),
    **_works("listener", "path ws.path header ws.header"),
    **_odd("listener", _UNCOMPRESSED, "enableCompression ws.enableCompression"),
    **_odd("listener", _IN_TIME, "readHeaderTimeout ws.readHeaderTimeout ws.handshakeTimeout"),
    **_odd("listener", _BUFFERS, _WS_BUFFERS),
    **_to_come("handler", "skipauth"),
    **_works("handler", "sd sd.cache.expiration sd.renewInterval"),
    **_works("handler", "entrypoint entrypoint.address entrypoint.allow"),
    **_works("handler", "router router.cache router.cache.expiration ingress readTimeout"),
    **_works("handler", "sourceCheck superpackets lanes domain handshakeTimeout onDuplicate certHosts enrol"),
    **_works("handler", "channel datagram dscp"),
    **_works("handler", "keepalive.timeout drainTimeout queueMemory trustedProxies trustedProxies.header"),
    **_works("service", "proxyProtocol netns"),
    **_odd("service", HUB_DIALS_NOBODY, "netns.out"),
    **_odd("handler", _BUFFERS, "router.bufferSize bufferSize"),
}
"""The keys of a hub: a service with handler router."""

CLIENT_KEYS: Keys = {
    **_SERVICE,
    **_of_urls(
        "service",
        f"auth {config_url_keys.TLS}",
        "the dialer of the hub's node",
        "the connector of the hub's node",
    ),
    **_odd(
        "handler", _UDP_PEER, _TUN_HANDLER + " passphrase tun.passphrase " + _prefixed("tun.", _TUN_HANDLER)
    ),
    **_to_come("service", "dialTimeout"),
    **_odd("service", "is for a limiter, and those are a hub's", "limiter.refreshInterval limiter.scope"),
    **_odd("listener", "is for Windows", "guid tun.guid"),
    **_odd("listener", "is for TCP, and read in the metadata of the hub's dialer", "mptcp"),
    **_odd("listener", _BUFFERS, "readBufferSize readQueueSize bufferSize tun.bufferSize"),
    **_odd("service", SERVICE_WITH_CHAIN, "interface so_mark netns.out"),
    **_odd(
        "service", "is for listeners of a hub; write it in the metadata of the hub's node", "proxyProtocol"
    ),
    **_odd("handler", "is not needed: a client connects again until it succeeds", "retries"),
    **_works("service", "netns"),
    **_works("handler", "superpackets lanes active channel dscp keepalive.timeout acceptRoutes namesBy"),
    **_works("handler", "map nat killswitch"),
    **_works("listener", _TUN_LISTENER + " " + _prefixed("tun.", _TUN_LISTENER)),
    **_to_come("listener", _TUN_TO_COME + " " + _prefixed("tun.", _TUN_TO_COME)),
}
"""The keys of a client: a service with handler tun."""

_NODE: Keys = {
    **_works("node", "interface so_mark proxyProtocol netns", also="hop"),
    **_odd("hop", "is read from a URL only; in a file it is a key of the hop", "resolver hosts"),
    **_odd("hop", BY_REQUEST, "bypass"),
    **_odd("hop", "is read by other handlers of GOST only; write strategy: hash in the selector", "hash"),
    **_of_urls("hop", f"auth {config_url_keys.TLS}", "the node's dialer", "the node's connector"),
    **_odd("connector", _ALWAYS, "nodelay"),
    **_odd("connector", "is not needed: a client connects again until it succeeds", "retries"),
}

CHAIN_KEYS: Keys = {
    **_NODE,
    **_works("node", "weight backup maxFails failTimeout"),
    **_works("dialer", "path ws.path header ws.header host ws.host keepalive ttl pin"),
    **_works("dialer", "keepalive.idle keepalive.interval keepalive.count mptcp congestion"),
    **_works("dialer", "tcp.keepalive.idle tcp.keepalive.interval tcp.keepalive.count ws.keepalive"),
    **_odd("dialer", _ALWAYS, "tcp.keepalive"),
    **_odd(
        "dialer",
        "is part of connectTimeout here",
        "handshakeTimeout ws.handshakeTimeout readHeaderTimeout ws.readHeaderTimeout",
    ),
    **_odd("dialer", _BUFFERS, _WS_BUFFERS),
    **_odd("dialer", _UNCOMPRESSED, "enableCompression ws.enableCompression"),
    **_odd("connector", "is read by other connectors of GOST only", "timeout mux udp idleTimeout"),
    **_works("connector", "router.id connectTimeout"),
}
"""The keys of a hop, its nodes, and their connectors and dialers."""

TARGET_KEYS: Keys = {
    **_works("target", "weight backup"),
    **_odd("target", "has no effect: a host name never fails, in GOST neither", "maxFails failTimeout"),
}
"""The keys of a forwarder's target, which for a client is a host name."""

PROXY_KEYS: Keys = {
    **_NODE,
    **_works("node", "weight backup maxFails failTimeout"),
    **_to_come("connector", "header"),
    **_odd("connector", _NO_USE, "notls relay udp udp.timeout mux"),
    **_odd("connector", _NO_USE, _prefixed("mux.", _MUX)),
    **_odd("connector", _BUFFERS, "udpBufferSize udp.bufferSize"),
    **_odd("connector", _OF_THE_HUB, "timeout connectTimeout"),
    **_odd("dialer", _OF_THE_HUB, "handshakeTimeout keepalive ttl"),
    **_odd("dialer", _OF_THE_HUB, "keepalive.idle keepalive.interval keepalive.count mptcp congestion"),
}
"""The keys of a proxy on the way to a hub, with its hop, connector and dialer."""

_OWNERS = (
    ("a service with handler router", HUB_KEYS),
    ("a service with handler tun", CLIENT_KEYS),
    ("the hub's node in a chain", CHAIN_KEYS),
    ("a proxy before the hub", PROXY_KEYS),
)
_OF_SECTIONS = {
    **dict.fromkeys(("Service", "Handler", "Listener"), _OWNERS),
    **dict.fromkeys(("Hop", "Node", "Connector", "Dialer"), _OWNERS[2:] + _OWNERS[:2]),
}
"""Class of a section that has metadata -> whose metadata keys may be meant there, the likeliest first."""


def key_hint(word: str, keys: Keys) -> str:
    """A hint for a metadata key that is not in `keys`: where it belongs, or how it is spelt; "" for none."""
    names = [key.name for key in keys.values() if not key.odd]
    return _place(word, _OWNERS) or place_of_own(word) or did_you_mean(word, names)


def section_hint(word: str, section: str) -> str:
    """A hint where a key belongs that a section has not, such as one of metadata; "" for none.

    `section` is the name of its class (config_schema).
    """
    owners = _OF_SECTIONS.get(section, ())
    return _place(word, owners) or place_of_own(word)


def _place(word: str, owners: Sequence[tuple[str, Keys]]) -> str:
    for owner, keys in owners:
        known = keys.get(word.lower())
        if known and known.instead:
            return f"write {known.instead}"
        if known and (known.works or known.not_yet):
            return f"it belongs to the {known.layer} metadata of {owner}"
    return ""
