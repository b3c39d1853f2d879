"""Why keys of GOST have no effect here: the reason for each, which its one warning gives.

Knows: what GOST does with a key, in its own code (go-gost/x), and what is here instead.
Refuses to know: which keys a section has (config_schema), how a warning is given (config_read).

A reason is true of GOST's own routing tunnel too, or says that something is not supported yet. Keys are not
here whose loss would change who is let in, where packets go or how many: those are errors (config_instead).
"""

from __future__ import annotations

from collections.abc import Mapping

OTHER_HANDLERS = "is read by other handlers of GOST only"
UNNAMED = "is for names with a port, and a host name on a router has none, in GOST neither"
BY_REQUEST = "chooses nodes by what is asked for, and a client asks for nothing but its own host name"
BY_ROLE = ""
"""The reason depends on more than the key: config_hub, config_client and config_references give it."""


def _because(reason: str, text: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), reason)


_SECTIONS: dict[str, dict[str, str]] = {
    "Listener": _because(
        "is for GOST's listeners at the far end of a chain (rtcp, rudp)", "chain chaingroup"
    ),
    "ForwardNode": _because(
        "is for targets that are dialled; a host name on a router is not, in GOST neither",
        "network bypass bypasses protocol host path filter matcher http probe",
    ),
    "Service": {
        **_because(BY_ROLE, "interface sockopts resolver hosts"),
        **_because("is asked by no handler of a routing tunnel, in GOST neither", "bypass bypasses"),
        **_because("is not supported yet: all services share one log, the section log", "logger loggers"),
        **_because(
            "is not supported yet: the log says what is dialled, and `tunrouter capture` what passes",
            "recorders",
        ),
        **_because(OTHER_HANDLERS, "rewriter cache"),
        **_because("is what GOST's web API says of a running service; nothing reads it", "status"),
    },
    "Node": {
        **_because(BY_REQUEST, "host protocol path filter matcher http bypass bypasses"),
        **_because("is for the targets of a forwarder: a chain dials TCP", "network"),
        **_because("is not supported yet: a node fails when a connection to it fails (maxFails)", "probe"),
    },
    "Hop": _because(BY_REQUEST, "bypass bypasses"),
    "Chain": _because("is for choosing among the chains of a chainGroup", "metadata"),
    "Hosts": _because(BY_ROLE, "reload"),
    "HostMapping": _because("is not read, in GOST neither: write a mapping for each name", "aliases"),
    "Config": {
        **_because("is for what a service or a hop names as bypass, which has no effect here", "bypasses"),
        **_because(
            "is for what names a resolver, which is not supported yet: hosts can hold the hub's addresses",
            "resolvers",
        ),
        **_because(
            "is for what names recorders, which is not supported yet: `tunrouter capture` writes packets",
            "recorders",
        ),
        **_because("is for what a service names as logger: all services share one log here", "loggers"),
        **_because("is for what names quotas, which is not supported yet: the metrics count bytes", "quotas"),
        **_because("is for what other handlers of GOST name", "rewriters caches"),
        **_because("is for GOST's own developers", "profiling"),
    },
}
"""Class of a section -> its key in lower case -> why it has no effect."""


def keys_of(section: str) -> Mapping[str, str]:
    """The keys of a section that have no effect, each with the reason; `section` is the name of its class."""
    return _SECTIONS[section]
