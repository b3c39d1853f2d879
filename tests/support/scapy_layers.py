"""Layers of scapy, which judges packets byte by byte: it builds and reads them without any code of ours.

Knows: the layers that tests use. Refuses to know: their types, which scapy declares too narrowly for `IP() / UDP()`.
"""

from __future__ import annotations

from typing import Any

from scapy.layers import inet, inet6
from scapy.packet import Raw as RawLayer

IP: Any = inet.IP
ICMP: Any = inet.ICMP
TCP: Any = inet.TCP
UDP: Any = inet.UDP
IPv6: Any = inet6.IPv6
ICMPv6DestUnreach: Any = inet6.ICMPv6DestUnreach
ICMPv6EchoReply: Any = inet6.ICMPv6EchoReply
ICMPv6EchoRequest: Any = inet6.ICMPv6EchoRequest
ICMPv6PacketTooBig: Any = inet6.ICMPv6PacketTooBig
ICMPv6ParamProblem: Any = inet6.ICMPv6ParamProblem
ICMPv6TimeExceeded: Any = inet6.ICMPv6TimeExceeded
IPv6ExtHdrDestOpt: Any = inet6.IPv6ExtHdrDestOpt
IPv6ExtHdrFragment: Any = inet6.IPv6ExtHdrFragment
Raw: Any = RawLayer
fragment: Any = inet.fragment
fragment6: Any = inet6.fragment6
