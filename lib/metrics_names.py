"""Names, types, labels and help texts of all metrics (README, Metrics).

Knows: GOST's metrics, which its users scrape already, and ours.
Refuses to know: where values come from (metrics).
"""

from __future__ import annotations

from typing import NamedTuple

OTHER = "other"
"""The label's value in the row that sums up all hosts, or addresses, beyond MAX_KEYS."""
MAX_KEYS = 2000
"""Hosts of a service, and client addresses of a service, that have rows of their own."""


class Family(NamedTuple):
    """A metric of Prometheus: its name, type, labels and help text."""

    name: str
    """For a counter without `_total`, which is appended when it is written."""
    kind: str
    """counter, gauge or histogram."""
    labels: tuple[str, ...]
    doc: str

    @property
    def title(self) -> str:
        """Its name as its rows have it."""
        return self.name + ("_total" if self.kind == "counter" else "")


def _family(name: str, kind: str, labels: str, doc: str) -> Family:
    return Family(name, kind, tuple(labels.split()), doc)


HOST = "service namespace host"
BY_HOST = {
    "sessions": _family("tunrouter_sessions", "gauge", HOST, "Live sessions of a host."),
    "silent": _family(
        *("tunrouter_silent_sessions", "gauge", HOST),
        "Sessions of a host by which nothing reaches it, while its client has another one.",
    ),
    "opened": _family("tunrouter_sessions_opened", "counter", HOST, "Sessions that were let in."),
    "rtt": _family(
        "tunrouter_session_rtt_seconds",
        "gauge",
        HOST,
        "Smoothed round-trip time, the longest of its sessions.",
    ),
    "datagram_sessions": _family(
        *("tunrouter_datagram_sessions", "gauge", HOST),
        "Sessions of a host whose UDP and ICMP may go by datagrams now.",
    ),
    "datagram_rtt": _family(
        *("tunrouter_datagram_rtt_seconds", "gauge", HOST),
        "Smoothed round-trip time of datagrams, the longest of its sessions.",
    ),
    "datagram_loss": _family(
        *("tunrouter_datagram_loss_ratio", "gauge", HOST),
        "The share of datagrams to a host that is lost on the way, the largest of its sessions.",
    ),
    "queue": _family("tunrouter_queue_bytes", "gauge", HOST, "What waits for a host that does not keep up."),
    "received_packets": _family(
        "tunrouter_received_packets",
        "counter",
        HOST,
        "Packets received from a host, as the wire counts them.",
    ),
    "received_bytes": _family("tunrouter_received_bytes", "counter", HOST, "Bytes received from a host."),
    "sent_packets": _family("tunrouter_sent_packets", "counter", HOST, "Packets sent to a host."),
    "sent_bytes": _family("tunrouter_sent_bytes", "counter", HOST, "Bytes sent to a host."),
    "queued": _family(
        "tunrouter_queue_runs", "counter", HOST, "Runs of frames that waited before they were sent."
    ),
    "waited": _family("tunrouter_queue_wait_seconds", "counter", HOST, "How long they had waited, in sum."),
    "marked": _family(
        "tunrouter_marked_packets",
        "counter",
        HOST,
        "Packets marked CE (ECN) instead of dropped, as they had waited too long.",
    ),
    "drops": _family(
        "tunrouter_dropped_packets", "counter", f"{HOST} reason", "Packets that were lost here, and why."
    ),
}
CLIENT = "service host"
BY_CLIENT = {
    "connected": _family("tunrouter_client_connected", "gauge", CLIENT, "Whether a client has a session."),
    "silent": _family(
        *("tunrouter_client_silent_sessions", "gauge", CLIENT),
        "Sessions of a client by which nothing reaches the hub, while another one does.",
    ),
    "made": _family("tunrouter_client_sessions", "counter", CLIENT, "Sessions a client has had."),
    "rtt": _family("tunrouter_client_rtt_seconds", "gauge", CLIENT, "Smoothed round-trip time to its hub."),
    "datagrams": _family(
        *("tunrouter_client_datagrams", "gauge", CLIENT),
        "Whether UDP and ICMP may go to the hub by datagrams now.",
    ),
    "datagram_rtt": _family(
        *("tunrouter_client_datagram_rtt_seconds", "gauge", CLIENT),
        "Smoothed round-trip time of datagrams to its hub.",
    ),
    "datagram_loss": _family(
        *("tunrouter_client_datagram_loss_ratio", "gauge", CLIENT),
        "The share of datagrams to its hub that is lost on the way.",
    ),
    "queue": _family("tunrouter_client_queue_bytes", "gauge", CLIENT, "What waits for its hub."),
    "received_packets": _family(
        "tunrouter_client_received_packets", "counter", CLIENT, "Packets from the hub."
    ),
    "received_bytes": _family("tunrouter_client_received_bytes", "counter", CLIENT, "Bytes from the hub."),
    "sent_packets": _family("tunrouter_client_sent_packets", "counter", CLIENT, "Packets to the hub."),
    "sent_bytes": _family("tunrouter_client_sent_bytes", "counter", CLIENT, "Bytes to the hub."),
    "marked": _family(
        "tunrouter_client_marked_packets",
        "counter",
        CLIENT,
        "Packets to the hub marked CE (ECN) instead of dropped.",
    ),
    "drops": _family(
        "tunrouter_client_dropped_packets",
        "counter",
        f"{CLIENT} reason",
        "Packets lost at a client, and why.",
    ),
}
GOST = {
    "services": _family("gost_services", "gauge", "host", "Current number of services"),
    "requests": _family(
        "gost_service_requests", "counter", "host service client", "Total number of requests"
    ),
    "in_flight": _family(
        "gost_service_requests_in_flight", "gauge", "host service client", "Current in-flight requests"
    ),
    "input": _family(
        *("gost_service_transfer_input_bytes", "counter", "host service client"),
        "Total service input data transfer size in bytes",
    ),
    "output": _family(
        *("gost_service_transfer_output_bytes", "counter", "host service client"),
        "Total service output data transfer size in bytes",
    ),
    "errors": _family(
        *("gost_service_handler_errors", "counter", "host service client"),
        "Total service handler errors",
    ),
    "chain": _family("gost_chain_errors", "counter", "host chain node", "Total chain errors"),
}
HUB = "service hub"
BY_HUB = {
    "received_packets": _family(
        *("tunrouter_hub_received_packets", "counter", HUB), "Packets from another hub, by its entrypoint."
    ),
    "received_bytes": _family("tunrouter_hub_received_bytes", "counter", HUB, "Bytes from another hub."),
    "sent_packets": _family("tunrouter_hub_sent_packets", "counter", HUB, "Packets to another hub."),
    "sent_bytes": _family("tunrouter_hub_sent_bytes", "counter", HUB, "Bytes to another hub."),
    "drops": _family(
        *("tunrouter_hub_dropped_packets", "counter", f"{HUB} reason"),
        "Packets from and to another hub that were lost here, and why; `other` is whoever is no hub.",
    ),
}
CLUSTER = {
    "live": _family(
        *("tunrouter_cluster_hub_live", "gauge", "hub"),
        "Whether the lease of another hub of the cluster has not ended.",
    ),
    "hosts": _family(
        *("tunrouter_cluster_hub_hosts", "gauge", "hub"),
        "Hosts that a hub of the cluster says are connected to it, this one's own too.",
    ),
    "sessions": _family(
        *("tunrouter_cluster_hub_sessions", "gauge", "hub"), "Sessions that a hub of the cluster has."
    ),
    "rtt": _family(
        *("tunrouter_cluster_link_rtt_seconds", "gauge", "hub"),
        "Round-trip time of the link with another hub, where there is one.",
    ),
    "datagrams": _family(
        *("tunrouter_cluster_link_datagrams", "gauge", "hub"),
        "Whether UDP and ICMP may go to another hub by datagrams now, where there is a link with it.",
    ),
    "datagram_rtt": _family(
        *("tunrouter_cluster_link_datagram_rtt_seconds", "gauge", "hub"),
        "Smoothed round-trip time of datagrams to another hub.",
    ),
    "datagram_loss": _family(
        *("tunrouter_cluster_link_datagram_loss_ratio", "gauge", "hub"),
        "The share of datagrams to another hub that is lost on the way.",
    ),
    "up": _family(
        *("tunrouter_cluster_registry_up", "gauge", "registry"), "Whether the cluster's registry is there."
    ),
    "commands": _family(
        *("tunrouter_cluster_registry_commands", "counter", "registry"),
        "Commands that this hub has sent to the cluster's registry.",
    ),
    "messages": _family(
        *("tunrouter_cluster_registry_messages", "counter", "registry outcome"),
        "Messages of hubs that came by the registry, and what became of them.",
    ),
}
REGISTERED = _family(
    *("tunrouter_sd_sessions", "gauge", "service sd"), "Sessions of a service that its sd has been told of."
)
DURATION = _family(
    *("gost_service_request_duration_seconds", "histogram", "host service"),
    "Distribution of request latencies",
)
WAIT = _family(
    *("tunrouter_queue_seconds", "histogram", "service"),
    "How long what was sent to hosts had waited in a queue; what went straight out did not.",
)
REFUSED = _family(
    *("tunrouter_refused_connections", "counter", "service reason"),
    "Connections that became no session, and why.",
)
UNNAMED = _family(
    *("tunrouter_unnamed_clients", "counter", "service"),
    "Connections of a trusted proxy that has not named its client, or by no readable address.",
)
MEMORY = _family(
    "tunrouter_queue_memory_bytes",
    "gauge",
    "service",
    "Memory of all that waits for the peers of a hub.",
)
TABLE = {
    "routes": _family("tunrouter_routes", "gauge", "router", "Routes of a table."),
    "rules": _family(
        "tunrouter_rules", "gauge", "kind name", "Rows of an ingress, an auther, an admission or bindings."
    ),
    "up": _family(
        "tunrouter_source_up", "gauge", "table source", "Whether a source could be read the last time."
    ),
    "age": _family(
        "tunrouter_source_age_seconds", "gauge", "table source", "How long ago a source was last read."
    ),
    "failures": _family(
        "tunrouter_source_failures", "counter", "table source", "How often a source could not be read."
    ),
}
LOG = {
    "waiting": _family(
        "tunrouter_log_waiting", "gauge", "output", "Lines of the log that nobody has read yet."
    ),
    "lost": _family(
        *("tunrouter_log_lost_lines", "counter", "output"),
        "Lines of the log that are lost: too many waited, or they could not be written.",
    ),
}
NOTIFY = {
    "events": _family(
        *("tunrouter_notify_events", "counter", "notify result"),
        "Events about hosts by receiver: delivered, failed (given up), dropped (too many waited).",
    ),
    "waiting": _family("tunrouter_notify_waiting", "gauge", "notify", "Events that are not delivered yet."),
}
NAMESPACE = _family(
    *("tunrouter_namespace_info", "gauge", "namespace title"),
    "What people call a namespace: 1 for each that has a title, to be joined on `namespace`.",
)
POLICY = _family(
    *("tunrouter_policy_tests", "gauge", "outcome"),
    "Policy tests that hold, fail, and could not be judged when they were run last.",
)
TASK = {
    "up": _family("tunrouter_task_up", "gauge", "task", "Whether what must run for ever does so."),
    "failures": _family(
        *("tunrouter_task_failures", "counter", "task"),
        "How often it met an error that nobody expected, and was started again.",
    ),
}
WORKER = {
    "up": _family(
        *("tunrouter_worker_up", "gauge", "worker"), "Whether a worker has told its figures for this scrape."
    ),
    "connections": _family(
        *("tunrouter_worker_connections", "gauge", "worker"), "Connections that a worker has been given."
    ),
    "deaths": _family(
        "tunrouter_worker_deaths", "counter", "", "How often a worker has ended that nobody had told to."
    ),
}
"""Of a process with workers."""
