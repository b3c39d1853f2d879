"""List of all reasons for dropped packets and for refused clients, each with an explanation and a remedy.

Knows: every drop and every refusal anywhere in the program.
Refuses to know: who counts them (counters) and who decides (forward, packet_offload, session_queue,
auth_admission).
"""

from __future__ import annotations

from enum import Enum
from typing import Self


class _Documented(Enum):
    """Base of both lists: each member's value is its stable name in the log, metrics and JSON."""

    doc: str
    """An explanation."""
    remedy: str
    """What to do about it."""

    def __new__(cls, name: str, doc: str, remedy: str) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.doc = doc
        member.remedy = remedy
        return member


class Refusal(_Documented):
    """Why a connection did not become a session."""

    MALFORMED = (
        "malformed",
        "not a relay handshake, or one that does not parse",
        "a scanner, a browser or a health check, which needs nothing: the log says what it speaks",
    )
    LATE = (
        "late",
        "no handshake within the deadline",
        "a client on a very slow path needs a longer handshakeTimeout; a port scanner needs nothing",
    )
    TRANSPORT = (
        "transport",
        "the TLS or WebSocket handshake failed, or the client speaks another transport than the listener",
        "compare the client's -F scheme, certificates and pin with the hub's -L; the log names the step",
    )
    PROXY_HEADER = (
        "proxy-header",
        "a trusted proxy's connection does not begin with a PROXY header",
        "let the proxy send it (HAProxy: send-proxy-v2), or take its address out of trustedProxies",
    )
    ADMISSION = (
        "admission",
        "no admission lets this address connect, or the one that decides cannot be asked",
        "add the address to the whitelist, or take it out of the other list; the log names the admission",
    )
    CONNECTIONS = (
        "connections",
        "more connections than the climiter allows",
        "name a climiter that allows more, or find out why one address has so many",
    )
    RATE = (
        "rate",
        "more handshakes a second than the rlimiter allows",
        "name an rlimiter that allows more; clients that are told no in a circle show up in the log",
    )
    CUT_OFF = (
        "cut-off",
        "closed before the handshake was complete",
        "nothing, if it was a health check or tunrouter doctor; else the client's log says why it gave up",
    )
    BAD_REQUEST = (
        "bad-request",
        "a command that a router does not know, or no proper host name",
        "give the client a proper host name; only routing tunnels are served here",
    )
    INGRESS = (
        "ingress",
        "the ingress does not let this host into this namespace",
        "add a rule to the ingress, or correct the client's host name or router.id",
    )
    UNAUTHORIZED = (
        "unauthorized",
        "the login is not known here, or was not given",
        "correct user and password in the client's -F, or add the login to the auther",
    )
    NAME = (
        "name",
        "the login or certificate is not for this host name or namespace, or the name is taken",
        "use the host name that the login or certificate is for, or end the session that has the name (kick)",
    )
    LANE = (
        "lane",
        "the second lane of a session that is not here",
        "nothing: a load balancer has sent it to another hub than its session, which goes on with one lane",
    )
    NO_WORKER = (
        "no-worker",
        "no worker takes connections at the moment",
        "the log says why workers end; each is replaced within seconds",
    )
    UNAVAILABLE = (
        "unavailable",
        "who decides (ingress or auther) cannot be asked at the moment",
        "look after the plugin or source behind the ingress or auther: status shows its last error",
    )


class Reason(_Documented):
    """Why a packet was dropped."""

    # what a peer sent
    EMPTY_FRAME = (
        "empty-frame",
        "a frame of length 0 (it would end a GOST peer)",
        "a peer that is no tunnel client, or a broken one: update it",
    )
    NOT_IP = (
        "not-ip",
        "the frame holds neither an IP packet nor anything of ours",
        "a peer that is no tunnel client, or a broken one: update it",
    )
    TRUNCATED = (
        "truncated",
        "the packet is shorter than its own header",
        "a peer that writes broken packets: update it",
    )
    LENGTH_LIES = (
        "length-lies",
        "the packet's total length differs from the frame's",
        "a peer that writes broken packets: update it",
    )
    BAD_OFFLOAD = (
        "bad-offload",
        "a virtio-net header that does not fit its packet",
        "a broken or hostile peer: update it; superpackets: off on the hub works around it",
    )
    BAD_CONTROL = (
        "bad-control",
        "a control frame that does not parse",
        "a broken or hostile peer: update it",
    )
    CUT_OFF = (
        "cut-off",
        "the peer closed in the middle of a frame",
        "nothing, if the client was ended; else the path cuts connections: see its log",
    )

    # where it should go
    WRONG_SOURCE = (
        "wrong-source",
        "the source address does not route back to the sending host",
        "add a route for the source with this host as gateway, or switch it off with sourceCheck: off",
    )
    NO_ROUTE = (
        "no-route",
        "no table has a route for the destination",
        "add a route for the destination; tunrouter explain shows which tables were asked",
    )
    NO_SESSION = (
        "no-session",
        "the gateway of the route has no live session",
        "connect the gateway's client, or add a second gateway; tunrouter routes shows who is live",
    )
    DENIED = (
        "denied",
        "the router's access list does not allow it",
        "add a rule to the router's acl, if this shall pass; tunrouter explain names the one that said no",
    )
    UNREADABLE = (
        "unreadable",
        "an access list could not read the packet to its transport header",
        "a broken or hostile peer: it cuts headers off, adds too many, or makes fragments too small for them",
    )
    STRAY_FRAGMENT = (
        "stray-fragment",
        "a fragment that no first fragment came before which the access list let through",
        "nothing, if the first one was denied or lost; else the sender's fragments come out of order",
    )
    STRAY_ERROR = (
        "stray-error",
        "an ICMP error about nothing that was let through between these two, or too long for one",
        "nothing, if it is late; else a host that makes up ICMP errors",
    )
    FOREIGN_ERROR = (
        "foreign-error",
        "an ICMP error from no address of the sending host, and not about a packet that went to it",
        "nothing, if few: else routes for nets behind the host are missing, or it makes up ICMP errors",
    )
    ERROR_RATE = (
        "error-rate",
        "more ICMP errors of routers behind a host than 10 a second",
        "look for what these routers cannot forward; a route for their addresses ends the limit",
    )
    MULTICAST = (
        "multicast",
        "multicast or broadcast: a routing tunnel carries unicast only",
        "nothing: hosts try this by themselves (mDNS, neighbour discovery)",
    )
    LINK_LOCAL = (
        "link-local",
        "loopback or unspecified address, or a link-local one that no table has a route for",
        "nothing: hosts try this by themselves; link-local addresses are carried where a route leads to them",
    )
    HOP_LIMIT = (
        "hop-limit",
        "the packet had no hop left at this hub (TTL, or IPv6's hop limit)",
        "nothing, if somebody runs traceroute; else packets go in a circle: look at routes behind the hosts",
    )
    FOR_HUB = (
        "for-hub",
        "it is for the hub's own address, which replies to pings, and over UDP to DNS with dnsDomain, alone",
        "nothing, if somebody runs traceroute; else the sender means another address",
    )
    HUB_RATE = (
        "hub-rate",
        "more pings of the hub's own address, or DNS questions to it, than it replies to",
        "nothing: 1,000 pings and 10,000 questions a second of one session have their replies",
    )
    TOO_BIG = (
        "too-big",
        "larger than the far side takes, and not to be fragmented",
        "let ICMP through to the sender, or lower its device's mtu to the far side's",
    )
    ROUTER_FAILED = (
        "router-failed",
        "the router plugin gave no reply",
        "look after the router plugin: status shows it, the log its error",
    )
    RESOLVE_QUEUE = (
        "resolve-queue",
        "too many packets wait for the router plugin, or for the sd",
        "the plugin is too slow: quicken it, or raise router.cache.expiration or sd.cache.expiration",
    )
    SD_FAILED = (
        "sd-failed",
        "a host has no session here, and the sd did not say which hub it is at",
        "look after the sd plugin: status shows it, the log its error",
    )
    FOREIGN_HUB = (
        "foreign-hub",
        "a datagram for the entrypoint, from an address that entrypoint.allow has not or the sd never named",
        "if that is a hub of yours: add its address, and let its own entrypoint be the address it sends from",
    )
    BAD_DATAGRAM = (
        "bad-datagram",
        "a datagram for the entrypoint that is not GOST's request with a packet behind it",
        "nothing, if a scanner sent it; else another program that sends to this port",
    )
    NO_NAMESPACE = (
        "no-namespace",
        "it came from another hub, for a namespace of which no host is here",
        "nothing, if few: the last host of it has just left; else the sd does not forget sessions that end",
    )
    NO_LINK = (
        "no-link",
        "the hub that has the host cannot be reached by a link",
        "look at that hub, and at cluster.link.address and the firewall there: status and the log say why",
    )
    UNTRUSTED = (
        "untrusted",
        "it came by a link from a hub that trust does not grant this namespace",
        "grant the namespace to that hub in trust of cluster, if it has hosts of it; else ask who runs it",
    )
    FOREIGN_SOURCE = (
        "foreign-source",
        "it came from another hub, and its source is of no host that is known to be there",
        "nothing, if few: a host has just moved; else hubs have different routes, or somebody forges packets",
    )

    LINK_SHARE = (
        "link-share",
        "it came by a link from a host that costs more time than it is worth: only its known flows go on",
        "look at what that host sends (tunrouter trace): denied packets, new flows to nowhere, tiny segments",
    )

    # where it was held
    QUEUE_FULL = (
        "queue-full",
        "the receiver does not keep up: its queue is full",
        "the receiver's path is slower than what is sent to it: a faster path, or a limiter on who sends",
    )
    QUEUE_CODEL = (
        "queue-codel",
        "packets of its flow kept waiting too long in the receiver's queue: its sender is told to slow down",
        "nothing: this keeps everybody's delay low; with ECN (net.ipv4.tcp_ecn=1) packets are marked instead",
    )
    QUEUE_OPENING = (
        "queue-opening",
        "more TCP connections are opened than the receiver keeps up with: those that it has go first",
        "find out who opens so many (tunrouter capture), and limit who does; else a faster path or processor",
    )
    QUEUE_MEMORY = (
        "queue-memory",
        "all queues together hold as much as they may",
        "many receivers are slow at once: raise queueMemory, or limit who sends",
    )
    QUEUE_TIME = (
        "queue-time",
        "the packet waited too long in the receiver's queue",
        "the receiver stalls: look at its path and its load",
    )
    DATAGRAM_UNSENT = (
        "datagram-unsent",
        "datagrams that this host's send buffer had no room for",
        "a faster path, or a limiter on who sends; with channel: stream they wait in a queue instead",
    )
    DATAGRAM_LIMITED = (
        "datagram-limited",
        "datagrams above the rate that the session's limits allow: nobody can make them wait",
        "nothing, or raise the limiter; with channel: stream the client is made to wait instead",
    )
    DATAGRAM_SHARE = (
        "datagram-share",
        "datagrams of a session that costs the hub more time than it is worth",
        "look at what the host sends: junk, denied packets, or new flows to nowhere",
    )
    DATAGRAM_QUEUE = (
        "datagram-queue",
        "datagrams that the hub had no time for: more came than it can forward, most of them of this session",
        "limit who sends so much (limiter), or a faster hub; with channel: stream the client is made to wait",
    )
    SESSION_GONE = (
        "session-gone",
        "the session, or one of its two lanes, ended with the packet in its queue",
        "nothing: it was on the way when the session ended; the log says why it did",
    )
    NOT_FORWARDED = (
        "not-forwarded",
        "this host is to pass packets on to a network behind it, but its kernel does not forward",
        "sysctl -w net.ipv4.ip_forward=1 (IPv6: net.ipv6.conf.all.forwarding=1), or route them elsewhere",
    )
    REVERSE_PATH = (
        "reverse-path",
        "this host's reverse path filter (rp_filter) drops packets whose source has no route into the tunnel",
        "add the source's network to the client's route=, or switch rp_filter off (all and the device)",
    )
    DEVICE_REFUSED = (
        "device-refused",
        "the TUN device did not take the packet",
        "the TUN device is down or its queue full: see ip -s link, and set it up again",
    )
