"""The layers of ARCHITECTURE.md, enforced: which module may import which, and what each layer may use.

A module imports from layers above its own line (lower numbers) or from its own layer without a cycle.
Imports inside functions count: they are knowledge too, only later.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[2] / "lib"

LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "ids",
        "bounded_dict",
        "forward_drop_reasons",
        "log_events",
        "log_redact",
        "metrics_names",
        "printable",
    ),
    (
        "wire_fields",
        "netfilter_names",
        "netlink_messages",
        "addresses",
        "prefixes",
        "text_encoding",
        "wire_relay",
        "wire_enrol",
        "enrol_token",
        "wire_guess",
        "framing",
        "packet",
        "packet_offload",
        "packet_ecn",
        "packet_fragment",
        "packet_headers",
        "packet_icmp",
        "packet_hop",
        "packet_replies",
        "push_settings",
        "wire_unreached",
        "wire_control",
        "datagram_wire",
        "wire_tls",
        "wire_proxy",
        "cluster_wire",
        "cluster_frames",
        "worker_wire",
        "packet_udp_gro",
        "packet_tcp_gro",
        "packet_text",
        "packet_datagram",
        "capture_records",
        "capture_pcapng",
        "api_gzip",
    ),
    (
        *(
            "settings",
            "did_you_mean",
            "settings_sources",
            "settings_observe",
            "namespace_titles",
            "settings_dial",
            "settings_acl",
            "settings_api",
            "settings_policy",
            "settings_push",
            "settings_map",
            "netfilter_map",
            "netfilter_entries",
            "push_routes",
            "push_accept",
            "push_pool",
            "settings_transport",
            "route_trie",
            "route_table",
            "route_first_match",
            "ingress",
            "acl",
            "acl_shares",
            "acl_connections",
            "auth_logins",
            "auth_bindings",
            "auth_addresses",
            "auth_passwords",
            "enrol_book",
            "enrol_address",
            "session_cost",
            "session_keepalive",
            "session_mismatch",
            "plugin_cache",
            "route_plugin_cache",
            "route_gateways",
            "namespace_sender",
            "namespace_commons",
            "namespace_elsewhere",
            "namespace",
        ),
        *(
            "cluster_directory",
            "settings_cluster",
            "settings_registry",
            "cluster_seal",
            "push_shared",
            "cluster_places",
            "cluster_registry",
            "cluster_claims",
            "cluster_known",
            "cluster_costs",
            "cluster_view",
            "worker_registry",
            "worker_replies",
            "worker_figures",
            "settings_workers",
            "namespace_domain",
            "namespace_prefixes",
            "forward_decide",
            "forward",
            "forward_frame",
            "forward_errors",
            "forward_enter",
            "auth_admission",
            "session_budget",
            "session_lane_tokens",
            "session_lanes",
            "datagram_window",
            "datagram_keyring",
            "datagram_part",
            "datagram_keys",
            "datagram_table",
            "datagram_mtu",
            "datagram_peer",
            "datagram_quality",
            "datagram_trust",
            "datagram_choice",
            "session_queue",
            "session_chunks",
            "cluster_envelopes",
            "session_codel",
            "session_pacing",
            "session_turns",
            "session_window",
            "limits",
            "hub_proxies",
            "client_backoff",
            "client_selector",
            "client_host",
            "client_ways",
            "client_flows",
            "client_preference",
            "session_pulse",
            "session_silence",
            "counters",
            "client_downlink",
            "client_transit",
            "client_advice",
        ),
        *(
            "settings_diff",
            "settings_names",
            "settings_needs",
            "dns_answers",
            "dns_forward",
            "dns_hosts_file",
            "dns_listing",
            "dns_resolv_conf",
            "forward_names",
            "dns_zone",
            "humanize",
            "forward_explain",
            "log_dedup",
            "log_troubles",
            "metrics_ledger",
            "observe_stats",
            "observe_sums",
            "observe_events",
            "settings_limits",
            "settings_hooks",
            "settings_notify",
            "notify_mirror",
            "notify_presence",
            "settings_memory",
            "settings_telemetry",
            "netlink_plan",
            "netfilter_nat",
            "netfilter_killswitch",
        ),
        *("cli_table", "cli_columns", "counter_rates", "ctl_order", "session_problems"),
        *("api_history", "api_hosts", "api_board", "api_flows", "settings_changes"),
        *("capture_fate", "log_pace", "capture_taps", "capture_watch"),
    ),
    (
        *(
            "api_auth",
            "api_big",
            "api_change",
            "api_guard",
            "api_json",
            "api_config",
            "api_request",
            "api_save",
            "api_sessions",
            "api_tags",
            "config_api",
            "config_known",
            "config_named",
            "config_schema_tls",
            "go_values",
            "config_findings",
            "config_own_key",
            "config_own_keys",
            "config_own_metadata",
            "config_own_cluster",
            "config_own_redis",
            "config_yaml",
            "config_section",
            "config_print",
            "config_splice",
            "config_schema",
            "config_gost_keys",
            "config_url_keys",
            "config_read",
            "config_url",
            "cli_usage",
            "doctor_redact",
            "doctor_facts",
            "doctor_finding",
            "doctor_firewall",
            "doctor_firewall_rules",
            "doctor_host",
            "doctor_process",
            "doctor_way",
            "doctor_tunnel",
            "doctor_checks",
            "cli_grammar",
            "cli_completion",
            "cli_manpage",
            "cli_flags",
            "cli_mistakes",
            "cli_help",
            "ctl_encode",
            "ctl_filter",
            "api_endpoint",
            "api_openapi",
            "config_from_urls",
            "config_metadata",
        ),
        *(
            "config_chain",
            "config_nodes",
            "config_client",
            "config_host_name",
            "config_hub",
            "config_pool",
            "config_datagrams",
            "config_entrypoint",
            "config_cluster",
            "config_trust",
            "config_workers",
            "config_schema_cluster",
            "config_schema_redis",
            "config_tables",
            "config_plugins",
            "config_sources",
            "config_admission",
            "config_enrol",
            "config_transport",
            "config_acl",
            "config_limits",
            "config_hooks",
            "config_exit",
            "config_notify",
            "config_observe",
            "config_schema_notify",
            "config_telemetry",
            "config_references",
            "config_resolve",
        ),
        *(
            "route_parse",
            "rule_parse",
            "source_diff",
            "source_bad_lines",
            "source_text",
            "route_loader",
            "route_select",
            "config_policy",
            "config_titles",
            "config_schema_title",
            "config_schema_policy",
            "config_instead",
            "config_no_effect",
            "config_schema_log",
            "config_dial",
            "config_names",
            "config_map",
            "config_lint",
            "config_only_tunnel",
            "settings_summary",
            "settings_summary_clients",
            "service_environment",
            "capture_filter",
        ),
    ),
    (
        *(
            "local_time",
            "log_setup",
            "log_file",
            "log_output",
            "page_files",
            "service_files",
            "service_threads",
            "service_heap",
            "service_places",
            "service_release",
            "service_http",
            "service_socket",
            "service_scheduling",
            "service_slice",
            "service_passes",
            "service_turn",
            "service_collector",
            "tun",
            "netlink",
            "netlink_request",
            "netlink_watch",
            "netlink_networks",
            "netlink_left",
            "netlink_input",
            "netlink_adopt",
            "client_upkeep",
            "netlink_host_routes",
            "netlink_lookup",
            "netlink_forwarding",
            "netlink_own_routes",
            "netlink_owners",
            "stream_listen",
            "stream_netns",
            "stream_figures",
            "stream_options",
            "stream_moulds",
            "datagram_socket",
            "datagram_open",
            "datagram_group",
            "stream_tcp",
            "hub_accept",
            "stream_bounded",
            "stream_deadline",
            "stream_dial",
            "stream_interface",
            "stream_http",
            "stream_http_body",
            "stream_http_turns",
            "stream_resolve",
            "stream_name_servers",
            "stream_layer",
            "stream_tls",
            "stream_certificates",
            "stream_websocket",
            "stream_open",
            "stream_proxy",
            "stream_proxied",
            "client_dial",
            "client_names",
            "client_names_files",
            "client_hosts",
            "client_stub",
            "stream_dns",
            "client_around",
            "client_killswitch",
            "client_nat",
            "client_exit",
            "session_handshake",
            "session_sender",
            "session_lane_sender",
            "datagram_ciphers",
            "datagram_channel",
            "session_control",
            "client_uplink",
            "auth_lanes",
            "auth_password_pool",
            "config_secrets",
            "service_privileges",
            "service_preload",
            "service_signals",
        ),
        *(
            "cluster_registration",
            "cluster_identity",
            "cluster_trust",
            "cluster_redis",
            "cluster_redis_lists",
            "cluster_redis_talk",
            "push_shared_redis",
            "cluster_sd",
            "worker_channel",
            "worker_ends",
            "worker_handover",
            "worker_settings",
            "plugin_client",
            "plugin_http",
            "plugin_grpc",
            "plugin_protobuf",
            "source_redis",
            "source_read",
            "source_watch",
            "source_origin",
            "source_given",
            "source_feed",
            "enrol_file",
            "enrol_redis",
            "client_enrol",
            "ctl_path",
            "ctl_server",
            "ctl_client",
            "ctl_find",
            "cli_progress",
            "cli_paper",
            "cli_descriptors",
            "config_check",
            "config_check_start",
            "config_check_certificates",
            "config_check_enrol",
            "config_check_exit",
            "config_check_rights",
            "service_rights",
            "config_check_socket",
            "config_check_map",
            "doctor_ping",
            "doctor_look_host",
            "doctor_look_way",
            "doctor_look_tunnel",
            "doctor_bundle",
            "service_notify",
            "service_command",
            "netfilter_table",
            "netfilter_watch",
            "netfilter_conntrack",
            "netfilter_keep",
            "notify_delivery",
            "observe_delivery",
            "service_supervisor",
            "api_audit",
            "api_audit_file",
            "api_prefixes",
            "service_pidfile",
        ),
    ),
    (
        "route_live",
        "push_leases",
        "push_routers",
        "push_sharing",
        "hub_push",
        "hub_receive",
        "client_push",
        "rule_live",
        "rule_limits",
        "rule_admission",
        "rule_rates",
        "rule_recheck",
        "enrol_live",
        "enrol_lists",
        "hub_enrol",
        "hub_recheck",
        "hub_tables",
        "notify_watch",
        "observe_watch",
        "observe_services",
        "namespace_domains",
        "hub",
        "hub_log",
        "hub_identity",
        "hub_listen",
        "hub_caller",
        "hub_drain",
        "hub_lane",
        "hub_datagram",
        "datagram_own",
        "datagram_turns",
        "datagram_port",
        "cluster_datagram",
        "hub_turn",
        "hub_far_host",
        "cluster_elsewhere",
        "cluster_entrypoint",
        "cluster_entrypoint_port",
        "cluster_far_hubs",
        "cluster_sd_hosts",
        "cluster_receive",
        "cluster_link",
        "cluster_pulse",
        "cluster_silence",
        "cluster_unreached",
        "cluster_links",
        "cluster_hosts",
        "cluster_ways",
        "cluster_live",
        "cluster_member",
        "cluster_running",
        "cluster_watch",
        "worker_link",
        "worker_entrypoint",
        "worker_links",
        "worker_relay",
        "worker_sd",
        "worker_relay_frames",
        "worker_relay_way",
        "worker_listener",
        "worker_datagrams",
        "hub_names",
        "hub_resolve",
        "hub_session",
        "client",
        "client_session",
        "client_datagram",
        "client_handover",
        "client_lane",
        "client_device",
        "client_hop",
        "client_reconnect",
        "client_tries",
        "client_pings",
        "client_paths",
        "client_pulses",
    ),
    (
        "api_page",
        "api_probes",
        "api_bodies",
        "api_app",
        "api_files",
        "api_logins",
        "api_process",
        "api_routes",
        "api_server",
        "api_status",
        "service",
        "service_changes",
        "service_clients",
        "service_parts",
        "service_hooks",
        "service_reload",
        "service_servers",
        "service_policy",
        "service_policy_watch",
        "cli_test",
        "service_drops",
        "ctl_handlers",
        "ctl_explain",
        "service_watchdog",
        "worker_ask",
        "worker_asking",
        "worker_capture",
        "worker_changes",
        "worker_cluster",
        "worker_control",
        "worker_crew",
        "worker_forker",
        "worker_front",
        "worker_hooks",
        "worker_hubs",
        "worker_log",
        "worker_metrics",
        "worker_named",
        "worker_names",
        "worker_notify",
        "worker_observe",
        "worker_parts",
        "worker_process",
        "worker_ports",
        "worker_run",
        "worker_service",
        "worker_sources",
        "worker_pools",
        "worker_told",
        "worker_watch",
        "worker_state",
        "metrics",
        "metrics_process",
        "metrics_cluster",
        "metrics_server",
        "ctl_health",
        "ctl_policy",
        "ctl_status",
        "ctl_session",
        "ctl_tables",
        "ctl_sessions",
        "ctl_drops",
        "ctl_cluster",
        "ctl_routes",
        "ctl_enrol",
        "api_hubs",
        "api_own",
        "api_route_pages",
        "api_live",
        "api_shared",
        "api_confirm",
        "api_x",
        "api_x_changes",
        "api_x_config",
        "api_x_hosts",
        "api_x_look",
        "api_x_trace",
        "cli_enrol",
        "cli_join",
        "cli_check",
        "cli_doctor",
        "doctor_processes",
        "cli_config",
        "cli_health",
        "cli_process",
        "cli_show",
        "cli_entry",
        "cli_top",
        "cli_capture",
        "capture_service",
        "cli_licences",
        "cli_explain",
        "cli_main",
        "demo",
        "demo_net",
        "demo_probe",
        "demo_table",
    ),
)
"""Every module of lib/ by its layer: words, codecs, decisions, text, gevent and the OS, roles, program."""

LAYER_OF = {module: number for number, layer in enumerate(LAYERS) for module in layer}

CLOCK_AND_CHANCE = frozenset({"time", "datetime", "random", "secrets", "uuid"})
SYSTEM = frozenset(
    {"gevent", "greenlet", "socket", "ssl", "select", "selectors", "asyncio", "threading", "subprocess"}
    | {"signal", "fcntl", "ctypes", "io", "logging", "os", "pathlib", "sys", "pyroute2", "urllib3"}
)
NO_SYSTEM = frozenset({"socket.inet_pton", "socket.inet_ntop", "socket.AF_INET", "socket.AF_INET6"})
"""Read and write an address, much faster than ipaddress; that they live in `socket` is an accident."""
PURE = 2
"""Up to here, time and randomness come in as arguments and nothing touches the system."""
TEXT = 3
"""Reads what the outside wrote, as text it is given: it opens nothing either."""


def _modules() -> list[str]:
    return sorted(path.stem for path in LIB.glob("*.py") if path.stem != "__init__")


def _placed(last: int = len(LAYERS)) -> list[str]:
    """Modules with a layer, down to this one."""
    return [module for module in _modules() if LAYER_OF.get(module, last + 1) <= last]


def _imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere in a module: `from lib import ids` gives `lib.ids`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"line {node.lineno}: a relative import"
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


@cache
def _imported(module: str) -> tuple[str, ...]:
    return tuple(_imports(ast.parse((LIB / f"{module}.py").read_text(encoding="utf-8"))))


def _own(module: str) -> set[str]:
    """Modules of lib/ that this one imports; `lib` itself (its version) belongs to no layer."""
    parts = [name.split(".") for name in _imported(module)]
    return {name[1] for name in parts if name[0] == "lib" and name[1] in LAYER_OF}


def _reached(module: str) -> set[str]:
    """A module and every one of lib/ that it imports, directly or not."""
    reached: set[str] = set()
    coming = [module]
    while coming:
        module = coming.pop()
        reached.add(module)
        coming += _own(module) - reached
    return reached


def test_every_module_has_its_layer() -> None:
    without, gone = set(_modules()) - LAYER_OF.keys(), LAYER_OF.keys() - set(_modules())
    assert not without, f"give {sorted(without)} a layer in LAYERS (tests/unit/test_layers.py)"
    assert not gone, f"{sorted(gone)} stand in LAYERS, but not in lib/"


def test_a_module_stands_in_one_layer_only() -> None:
    assert sum(map(len, LAYERS)) == len(LAYER_OF)


@pytest.mark.parametrize("module", _placed())
def test_imports_come_from_no_higher_layer(module: str) -> None:
    layer = LAYER_OF[module]
    wrong = {name: LAYER_OF[name] for name in _own(module) if LAYER_OF[name] > layer}
    assert not wrong, f"{module} is in layer {layer} and imports {wrong}"


@pytest.mark.parametrize("module", _placed())
def test_what_is_imported_from_lib_exists(module: str) -> None:
    names = [name.split(".")[1] for name in _imported(module) if name.startswith("lib.")]
    assert set(names) <= LAYER_OF.keys() | {"__version__"}


def test_no_cycle() -> None:
    try:
        TopologicalSorter({module: _own(module) for module in _modules()}).prepare()
    except CycleError as cycle:
        pytest.fail("cycle: " + " -> ".join(cycle.args[1]))


def test_what_is_done_at_once_needs_little() -> None:
    """The executable does not unpack gevent, TLS and the rest for it (packaging/bootloader/tunrouter_unpack.c)."""
    used = {name.partition(".")[0] for module in _reached("cli_entry") for name in _imported(module)} - {
        "lib"
    }
    assert used <= sys.stdlib_module_names - {"ssl", "hashlib", "hmac", "asyncio"} | {
        "docopt",
        "rich",
        "segno",
    }


SERVER = {
    *("service", "service_parts", "service_reload", "hub", "hub_session", "client", "client_session"),
    *("ctl_server", "ctl_handlers", "ctl_status", "ctl_routes", "capture_service", "metrics_server"),
}
"""What only a process that serves needs."""


def test_to_explain_a_file_no_server_is_imported() -> None:
    assert _reached("service") >= SERVER
    assert not _reached("cli_explain") & SERVER


def test_to_explain_a_file_no_server_is_loaded() -> None:
    """By the whole command, whatever cli_main imports besides."""
    code = """if True:
        import sys
        from lib.cli_main import main
        config = "packaging/examples/server.yml"
        assert main(["explain", "192.168.200.1", "--from", "host-1", "-C", config]) == 0
        print(*sys.modules, file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIB.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert "goes to host-2" in done.stdout
    loaded = set(done.stderr.split())
    assert "lib.ctl_explain" in loaded
    assert not loaded & {f"lib.{module}" for module in SERVER}
    assert not loaded & {"gevent.server", "gevent.pywsgi", "wsproto", "pyroute2"}


@pytest.mark.parametrize("module", _placed(TEXT))
def test_pure_layers_use_nothing_of_the_system(module: str) -> None:
    forbidden = SYSTEM | CLOCK_AND_CHANCE if LAYER_OF[module] <= PURE else SYSTEM
    used = {name.partition(".")[0] for name in _imported(module) if name not in NO_SYSTEM}
    assert not used & forbidden


@pytest.mark.parametrize("module", _placed(TEXT))
def test_pure_layers_open_nothing(module: str) -> None:
    tree = ast.parse((LIB / f"{module}.py").read_text(encoding="utf-8"))
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os.path", ["os.path"]),
        ("from lib import ids, wire_relay", ["lib.ids", "lib.wire_relay"]),
        ("from lib.errors import HostError", ["lib.errors.HostError"]),
        ("def f():\n    import gevent", ["gevent"]),
        ("if TYPE_CHECKING:\n    from gevent.event import Event", ["gevent.event.Event"]),
    ],
)
def test_the_walk_sees(text: str, expected: list[str]) -> None:
    assert list(_imports(ast.parse(text))) == expected


def test_the_walk_refuses_a_relative_import() -> None:
    with pytest.raises(AssertionError, match="relative"):
        list(_imports(ast.parse("from . import ids")))
