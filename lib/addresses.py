"""Parsers for IP addresses, prefixes and `host:port` as people write them.

Knows: host:port, prefixes and interface addresses, in GOST's spelling. Every parser raises ValueError with
a sentence about what is wrong. Refuses to know: what the addresses are for.
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from socket import AF_INET, AF_INET6, inet_pton
from urllib.parse import urlsplit

from lib import prefixes
from lib.prefixes import Prefix

WILDCARDS = frozenset({"", "0.0.0.0", "::"})
"""Hosts that a listener has for every address of the machine."""
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")
_CIDR = re.compile(r"[0-9a-fA-F.:]{2,45}/[0-9]{1,3}")
_ZONE = re.compile(r"[^\s/%:@?#\x00-\x1f\x7f\[\]\ud800-\udfff]{1,15}")
"""A network device's name or number; the kernel's names have 15 bytes at most (IFNAMSIZ)."""
_HOST = re.compile(r"[^\s/@?#\x00-\x1f\x7f\[\]\ud800-\udfff]*")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
"""What separates the labels of a name (RFC 3490, 3.1)."""
_LENGTHS = {str(length): length for length in range(129)}
MAX_NAME, MAX_LABEL = 253, 63
"""Most bytes of a name without its last dot, and of a label (RFC 1035, 2.3.4)."""


def address(text: str) -> IPv4Address | IPv6Address:
    """A single address such as `10.0.0.9` or `2001:db8::1`, without prefix length. Raises ValueError."""
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"not an IP address: {text[:64]!r}")
    return ip_address(text)


def is_address(text: str) -> bool:
    """Whether this is a single address."""
    try:
        address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether this host is the machine itself: what is sent there goes over no network."""
    return host.lower() == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def prefix(text: str) -> IPv4Network | IPv6Network:
    """A prefix such as `10.0.0.0/8`. Raises ValueError.

    Host bits are cleared, as Go's net.ParseCIDR does. A single address becomes a prefix of its full length.
    """
    if not (_CIDR.fullmatch(text) or _ADDRESS.fullmatch(text)):
        raise ValueError(f"not an address or CIDR: {text[:64]!r}")
    return ip_network(text, strict=False)


def packed_prefix(text: str) -> Prefix:
    """A prefix as `prefix` reads it, as (packed address, length). Raises ValueError.

    What is written in the usual way is read in a tenth of the time, for configurations with many routes.
    """
    address, slash, bits = text.partition("/")
    try:
        packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
        length = _LENGTHS[bits] if slash else 8 * len(packed)
    except (OSError, ValueError, KeyError):
        return prefixes.packed(prefix(text))
    if length > 8 * len(packed):
        return prefixes.packed(prefix(text))
    return prefixes.network(packed, length), length


def widened(text: str) -> str:
    """The network that `prefix` makes of a CIDR with host bits (192.168.100.1/24); "" where it has none.

    `text` is one that `prefix` accepts.
    """
    address, slash, length = text.partition("/")
    if not slash:
        return ""
    packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    spare = 8 * len(packed) - int(length)
    if not int.from_bytes(packed, "big") & ((1 << spare) - 1):
        return ""
    return str(prefix(text))


def interface(text: str) -> IPv4Interface | IPv6Interface:
    """An address of an interface with its prefix length, such as `192.168.1.5/24`. Raises ValueError."""
    if _ADDRESS.fullmatch(text):
        raise ValueError(f"{text} needs the length of its prefix, such as {text}/24")
    if not _CIDR.fullmatch(text):
        raise ValueError(f"not a CIDR: {text[:64]!r}")
    return ip_interface(text)


def join_host_port(host: str, port: int | str) -> str:
    """`host:port`, an IPv6 address in brackets (RFC 3986): what `host_port` reads. Of no host `:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_zone(host: str) -> str:
    """A host as other machines may see it: without the %device of a link-local address (RFC 6874)."""
    return host.partition("%")[0] if ":" in host else host


def host_of(text: str) -> str:
    """The host, without brackets, of what `join_host_port` has written."""
    return text.rpartition(":")[0].removeprefix("[").removesuffix("]")


def host_port(text: str) -> tuple[str, int]:
    """(host, port) of `host:port`, `[::1]:port` or `:port` (an empty host). Raises ValueError.

    A link-local address has the network device that it is behind: `[fe80::1%eth0]:port` (RFC 4007).
    """
    if "://" in text:
        raise ValueError(f"{text[:64]!r} is a URL (write host:port)")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(_without_port(text))
    if not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise ValueError(f"not a port number: {port[:64]!r}")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = zoned(host[1:-1], "[{}]")
    elif ":" in host:
        raise ValueError(f"{text[:64]!r}: an IPv6 address goes in brackets, as in [::1]:8443")
    elif host:
        dns_name(host)
    return host, int(port)


def _without_port(text: str) -> str:
    if not text:
        return "no address (write host:port)"
    is_port = text.isascii() and text.isdecimal() and len(text) <= 5
    return f"{text[:64]!r} has no port" + f"; did you mean ':{text}'?" * is_port


def dns_name(host: str) -> str:
    """A host name as DNS carries it, in ASCII (IDNA, RFC 3490); an IP address stays as it is.

    Raises ValueError for a name that cannot be looked up or sent: Python's look-up, TLS and WebSocket raise
    UnicodeError for it.
    """
    if is_address(without_zone(host)):
        return host
    labels = _DOTS.split(host)
    if labels[-1] == "":
        labels.pop()  # of the root
    if not _HOST.fullmatch(host) or not labels:
        raise ValueError(f"not a host name: {host[:64]!r}")
    if "" in labels:
        raise ValueError(f"not a host name: {host[:64]!r} has nothing before or between its dots")
    if len(host) > MAX_NAME + 1 or len(encoded := _idna(host)) > MAX_NAME + encoded.endswith("."):
        raise ValueError(f"not a host name: {host[:64]!r}… is longer than {MAX_NAME} bytes")
    return encoded


def _idna(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        pass
    for label in _DOTS.split(host):
        try:
            label.encode("idna")
        except UnicodeError as error:
            long = "too long" in str(error)  # Python says "empty or too long"
            why = f"has a label that is empty or longer than {MAX_LABEL} bytes" if long else "is no IDNA name"
            raise ValueError(f"not a host name: {host[:64]!r} {why}: {label[:64]!r}") from None
    raise ValueError(f"not a host name: {host[:64]!r} is no IDNA name")


def url_host(url: str) -> str:
    """The host of a URL, as `dns_name` has it. Raises ValueError where there is none, or no such port."""
    parts = urlsplit(url)
    if parts.port is not None and not parts.port:  # the port is parsed here, too
        raise ValueError("port 0")
    if not parts.hostname:
        raise ValueError("it names no host")
    return dns_name(parts.hostname)


def zoned(text: str, written: str = "{}") -> str:
    """An address, a link-local one with its %device, as the kernel's tools write it. Raises ValueError.

    `written` is how it would be written where it comes from, for the message: `[{}]` for one in brackets.
    """
    bare, percent, zone = text.partition("%")
    parsed = address(bare)
    is_link_local = parsed.version == 6 and parsed.is_link_local
    if percent and not is_link_local:
        raise ValueError(f"{text[:64]!r}: only a link-local address (fe80::/10) has a %device")
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError(f"{text[:64]!r}: not the name of a network device: {zone[:64]!r}")
    if not percent and is_link_local:
        example = written.format(f"{parsed}%eth0")
        raise ValueError(f"{text[:64]!r} may be behind any network device: write {example}")
    return f"{parsed}%{zone}" if percent else str(parsed)
