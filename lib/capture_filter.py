"""Filter expressions for packets: a part of tcpdump's language, with words for hosts, fates and drop reasons.

    expression = term { ("or" | "||") term }
    term       = factor { [ "and" | "&&" ] factor }          "tcp port 22" is "tcp and port 22"
    factor     = { "not" | "!" } ( "(" expression ")" | word … )

    [src|dst] host ADDRESS    [src|dst] net CIDR    [src|dst] port N      src ADDRESS, dst CIDR too
    ip  ip6  tcp  udp  icmp  icmp6  proto N         IP version and protocol
    forwarded  answered  dropped  reason NAME       the fate; `dropped` matches what was answered (ICMP) too
    from HOST  to HOST                              sending and receiving host; "a name" with blanks in quotes

Knows: this language, and where a text breaks its rules. Refuses to know: who asks, where packets come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from lib import capture_fate as fates
from lib import packet_text, prefixes
from lib.capture_fate import Fate, ports_of
from lib.did_you_mean import did_you_mean
from lib.forward_drop_reasons import Reason
from lib.packet import Packet

MAX_LENGTH = 4096
"""Characters of an expression."""
MAX_DEPTH = 50
"""Levels of nested parentheses and `not`."""

Test = Callable[[Fate, Packet | None], bool]
"""A compiled filter: whether a packet with this fate matches. The packet is None for what is no IP packet."""

PROTOCOLS = {name: number for number, name in packet_text.PROTOCOLS.items()}
_PLAIN = ("tcp", "udp", "icmp", "icmp6")
_VERSIONS = {"ip": 4, "ip6": 6}
_FATES = {
    "forwarded": (fates.FORWARDED,),
    "answered": (fates.ANSWERED,),
    "dropped": (fates.DROPPED, fates.ANSWERED),
}
_SIDES = ("src", "dst")
_ENDS = ("host", "net", "port")
_JOINTS = {"&&": "and", "||": "or", "!": "not"}
WORDS = (
    *("and", "or", "not", *_SIDES, *_ENDS, "proto", *_PLAIN, *_VERSIONS),
    *(*_FATES, "reason", "from", "to"),
)
_TOKEN = re.compile(r'\s*("[^"]*"|\(|\)|!|&&|\|\||[^\s()!&|]+|[&|])')


class FilterError(ValueError):
    """A filter expression that cannot be parsed: the message, the position (from 1), and a hint or ""."""

    def __init__(self, message: str, at: int, hint: str = "") -> None:
        self.message, self.at, self.hint = f"{message} at {at}", at, hint
        super().__init__(f"{self.message}, {hint}" if hint else self.message)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    at: int

    @property
    def word(self) -> str:
        """The token in lower case, with `&&`, `||` and `!` as words."""
        return _JOINTS.get(self.text, self.text.lower())


def parse(text: str) -> Test | None:
    """Compile a filter expression; None for an empty one, which matches every packet. Raises FilterError."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter of more than {MAX_LENGTH} letters", MAX_LENGTH + 1)
    tokens, at = [], 0
    while found := _TOKEN.match(text, at):
        tokens.append(_Token(found[1], found.start(1) + 1))
        at = found.end()
    if not tokens:
        return None
    parser = _Parser(tokens, len(text) + 1)
    test = parser.expression(0)
    rest = parser.peek()
    if rest is not None:  # an expression only ends at the end, or before a ")"
        raise FilterError("unexpected ')'", rest.at)
    return test


class _Parser:
    """Recursive descent over the tokens, one method for each rule of the grammar."""

    def __init__(self, tokens: Sequence[_Token], end: int) -> None:
        self._tokens, self._next, self._end = tokens, 0, end

    def peek(self) -> _Token | None:
        """The next token, which stays; None at the end."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _is_next(self, *words: str) -> bool:
        token = self.peek()
        return token is not None and token.word in words

    def _take(self, wanted: str) -> _Token:
        token = self.peek()
        if token is None:
            raise FilterError(f"the filter ends, {wanted} is missing", self._end)
        self._next += 1
        return token

    def expression(self, depth: int) -> Test:
        """Rule `expression`: terms joined by `or`."""
        tests = [self._term(depth)]
        while self._is_next("or"):
            self._next += 1
            tests.append(self._term(depth))
        return tests[0] if len(tests) == 1 else _any(tuple(tests))

    def _term(self, depth: int) -> Test:
        tests = [self._factor(depth)]
        while self.peek() is not None and not self._is_next("or", ")"):
            if self._is_next("and"):
                self._next += 1
            tests.append(self._factor(depth))
        return tests[0] if len(tests) == 1 else _all(tuple(tests))

    def _factor(self, depth: int) -> Test:
        token = self._take("a word")
        if depth > MAX_DEPTH:
            raise FilterError("too many parentheses within each other", token.at)
        if token.word == "not":
            return _not(self._factor(depth + 1))
        if token.text == "(":
            test = self.expression(depth + 1)
            if not self._is_next(")"):
                raise FilterError("the filter ends, ')' is missing", self._end, f"for the '(' at {token.at}")
            self._next += 1
            return test
        return self._primary(token)

    def _primary(self, token: _Token) -> Test:
        word = token.word
        if word in _SIDES:
            return self._side(token)
        if word in _ENDS:
            return _end(word, self._take(_WANTED[word]), (True, True))
        if word in _PLAIN:
            return _protocol(PROTOCOLS[word])
        if word in _VERSIONS:
            return _version(_VERSIONS[word])
        if word in _FATES:
            return _fate(_FATES[word])
        if word == "proto":
            return _protocol(_protocol_number(self._take("a protocol")))
        if word == "reason":
            return _reason(self._take("a reason"))
        if word == "from":
            return _sender(self._take("a host's name").text.strip('"'))
        if word == "to":
            return _receiver(self._take("a host's name").text.strip('"'))
        raise _unknown(token)

    def _side(self, token: _Token) -> Test:
        sides = (token.word == "src", token.word == "dst")
        after = self._take("host, net or port")
        if after.word in _ENDS:
            return _end(after.word, self._take(_WANTED[after.word]), sides)
        return _end("net" if "/" in after.text else "host", after, sides)


_WANTED = {"host": "an address", "net": "a network", "port": "a port"}


def _unknown(token: _Token) -> FilterError:
    if token.word in ("and", "or", ")", "&", "|"):
        return FilterError(f"unexpected {token.text!r}", token.at, "a word is missing before it")
    value = "port" if token.text.isdecimal() else "host" if _address(token.text) else ""
    if value:
        hint = f"write '{value} {token.text}'"
    else:
        hint = did_you_mean(token.word, WORDS)
    return FilterError(f"unknown word {token.text[:32]!r}", token.at, hint)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _network(token: _Token) -> IPv4Network | IPv6Network:
    try:
        return ip_network(token.text)
    except ValueError as wrong:
        hint = ""
        if "host bits" in str(wrong):
            hint = f"write {ip_network(token.text, strict=False)}"
        raise FilterError(f"no network: {token.text[:50]!r}", token.at, hint) from None


def _end(kind: str, token: _Token, sides: tuple[bool, bool]) -> Test:
    """The test of `host`, `net` or `port` for (source, destination), or for either of them."""
    source, destination = sides
    if kind == "port":
        return _port(_number(token, 65535, "port"), source, destination)
    if kind == "net":
        network = _network(token)
        return _net(*prefixes.packed(network), source, destination)
    address = _address(token.text)
    if address is None or "%" in token.text:
        hint = (
            f"write 'net {token.text}'"
            if _address(token.text.partition("/")[0]) and "/" in token.text
            else ""
        )
        if not hint and re.fullmatch(r"[\w.-]+", token.text):
            hint = f"for the host of that name write 'from {token.text[:32]}' or 'to {token.text[:32]}'"
        raise FilterError(f"no address: {token.text[:50]!r}", token.at, hint)
    return _net(address.packed, len(address.packed) * 8, source, destination)


def _number(token: _Token, most: int, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", token.text) or int(token.text) > most:
        raise FilterError(f"no {what}: {token.text[:32]!r}", token.at, f"write a number up to {most}")
    return int(token.text)


def _protocol_number(token: _Token) -> int:
    known = PROTOCOLS.get(token.word)
    return known if known is not None else _number(token, 255, "protocol")


# --- what each word tests ------------------------------------------------------------------------


def _any(tests: tuple[Test, ...]) -> Test:
    return lambda fate, packet: any(test(fate, packet) for test in tests)


def _all(tests: tuple[Test, ...]) -> Test:
    return lambda fate, packet: all(test(fate, packet) for test in tests)


def _not(test: Test) -> Test:
    return lambda fate, packet: not test(fate, packet)


def _protocol(number: int) -> Test:
    return lambda fate, packet: packet is not None and packet.protocol == number


def _version(version: int) -> Test:
    return lambda fate, packet: packet is not None and packet.version == version


def _fate(whats: tuple[str, ...]) -> Test:
    return lambda fate, packet: fate.what in whats


def _sender(host: str) -> Test:
    return lambda fate, packet: fate.host == host


def _receiver(host: str) -> Test:
    return lambda fate, packet: fate.to == host


def _reason(token: _Token) -> Test:
    names = [reason.value for reason in Reason]
    if token.word not in names:
        hint = did_you_mean(token.word, names) or f"there is {', '.join(names)}"
        raise FilterError(f"no reason: {token.text[:32]!r}", token.at, hint)
    name = token.word
    return lambda fate, packet: fate.reason == name


def _port(port: int, source: bool, destination: bool) -> Test:
    def test(fate: Fate, packet: Packet | None) -> bool:
        ports = ports_of(packet) if packet is not None else None
        return ports is not None and ((source and ports[0] == port) or (destination and ports[1] == port))

    return test


def _net(prefix: bytes, length: int, source: bool, destination: bool) -> Test:
    def test(fate: Fate, packet: Packet | None) -> bool:
        return packet is not None and (
            (source and prefixes.covers(prefix, length, packet.source))
            or (destination and prefixes.covers(prefix, length, packet.destination))
        )

    return test
