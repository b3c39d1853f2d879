"""Titles of namespaces: what may be one, who has which, and that every place shows it and takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib import (
    capture_fate,
    capture_service,
    cli_columns,
    cli_entry,
    cli_table,
    config_read,
    config_resolve,
    ctl_drops,
    ctl_explain,
    ctl_filter,
    ctl_routes,
    ctl_sessions,
    hub_log,
    log_setup,
    metrics,
    metrics_names,
    namespace_titles,
    service_reload,
    settings_summary,
)
from lib.errors import ConfigError
from lib.forward_drop_reasons import Reason
from lib.ids import NO_NAMESPACE, format_uuid
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.namespace_titles import fault, named, namespace_named, title_of
from lib.settings import Settings
from tests.support.seen import hub_of, seen_of

BERLIN, BONN = bytes(range(16)), bytes(range(1, 17))
UUID = format_uuid(BERLIN)


@pytest.fixture(autouse=True)
def titles() -> Iterator[None]:
    namespace_titles.use([(BERLIN, "Shop Berlin"), (BONN, "Köln")])
    yield
    namespace_titles.use([])


def resolved(**more: Any) -> Settings:
    whole = {"services": [{"name": "hub", "addr": ":1", "handler": {"type": "router"}}], **more}
    return config_resolve.resolve(config_read.read([("f", json.dumps(whole))]))


@pytest.mark.parametrize(
    "title",
    ["", " Acme", "Acme ", "a" * 65, "ä" * 33, "Ac\nme", "Ac\x1bme", "Ac\u202eme", "A\\x1b", "\u3164", UUID, UUID.upper(), "0" * 32],
    ids=ascii,
)  # fmt: skip
def test_no_title(title: str) -> None:
    assert fault(title)
    with pytest.raises(ConfigError, match="cannot be a title"):
        resolved(namespaces=[{"id": UUID, "title": title}])


@pytest.mark.parametrize("title", ["A", "Shop Berlin", "ä" * 32, "東京 1", "<b>&amp;"])
def test_a_title(title: str) -> None:
    assert not fault(title)
    assert resolved(namespaces=[{"id": UUID, "title": title}]).titles == ((BERLIN, title),)


def test_of_a_router_and_of_a_namespace() -> None:
    found = resolved(
        routers=[{"name": UUID.upper(), "title": "Shop Berlin"}, {"name": "r"}],
        namespaces=[{"id": UUID, "title": "Shop Berlin"}, {"id": "0" * 32, "title": "Office"}],
    )
    assert found.titles == ((BERLIN, "Shop Berlin"), (NO_NAMESPACE, "Office"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"routers": [{"name": "r", "title": "Acme"}]}, "router r: 'title' is for a router whose name is"),
        ({"namespaces": [{"id": "r", "title": "Acme"}]}, "not a UUID: 'r'"),
        ({"namespaces": [{"title": "Acme"}]}, "not a UUID: ''"),
        ({"namespaces": [{"id": UUID}]}, "cannot be a title: it is empty"),
        ({"namespaces": [{"id": UUID, "title": "A"}, {"id": UUID, "title": "B"}]}, "has the title 'A' already"),
        ({"routers": [{"name": UUID, "title": "A"}], "namespaces": [{"id": UUID, "title": "B"}]}, "'A' already"),
        ({"namespaces": [{"id": UUID, "title": "Köln"}, {"id": format_uuid(BONN), "title": "KO\u0308LN"}]}, "title of namespace"),
        ({"namespace": [{"id": UUID, "title": "A"}]}, "did you mean 'namespaces'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_mistake_is_refused_with_its_place(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolved(**config)
    (problem,) = refused.value.problems
    assert said in str(problem)
    assert problem.where.line == 1


def test_what_a_person_types() -> None:
    for text in (UUID, UUID.replace("-", ""), "Shop Berlin", "shop BERLIN"):
        assert namespace_named(text) == BERLIN
    assert namespace_named("Ko\u0308ln") == BONN
    with pytest.raises(ValueError, match="did you mean 'Shop Berlin'"):
        namespace_named("Shop Berlni")
    with pytest.raises(ValueError, match="nor the title of a namespace"):
        namespace_named("x" * 1_000_000)
    namespace_titles.use([])
    with pytest.raises(ValueError, match="no namespace has a title here"):
        namespace_named("Shop Berlin")
    assert (title_of(BERLIN), named(BERLIN)) == ("", UUID)


@pytest.mark.parametrize("wrong", ["a" * 65, "a\nb", ""])
def test_what_can_be_no_title_is_refused_before_a_process_is_asked(wrong: str, capsys: Any) -> None:
    status = cli_entry.do_at_once(["health", "--ns", wrong or " "])
    assert (status, "--ns" in capsys.readouterr().err) == (2, True)


# --- where they are shown


def attached(host: str = "host-1") -> tuple[Domain, Attachment]:
    domain = Domain({})
    attachment = Attachment(domain.namespace(BERLIN), host, "10.0.0.1:1")
    domain.enter(attachment, 0.0)
    return domain, attachment


def test_requests_take_a_title_and_replies_have_one() -> None:
    domain, attachment = attached()
    attachment.traffic.drop(Reason.NO_ROUTE, 3)
    hub: Any = SimpleNamespace(
        domain=domain,
        refused={},
        settings=SimpleNamespace(name="hub"),
        sessions={1: SimpleNamespace(attachment=attachment)},
    )
    reply = ctl_drops.drops({"hub": hub}, {}, {"ns": "shop berlin"})
    (row,) = filter(None, reply["drops"])  # type: ignore[call-overload]
    assert (row["namespace"], row["title"]) == (UUID, "Shop Berlin")
    assert not list(filter(None, ctl_drops.drops({"hub": hub}, {}, {"ns": "köln"})["drops"]))  # type: ignore[call-overload]
    assert len(ctl_sessions.sessions_of({"hub": hub}, {"host": "host-1", "ns": "Shop Berlin"})) == 1
    with pytest.raises(ValueError, match="no live session of host 'host-1' in namespace Köln"):
        ctl_sessions.sessions_of({"hub": hub}, {"host": "host-1", "ns": "Köln"})
    question = ctl_explain.read_question(domain, {"from": "host-1", "to": "10.0.0.9", "ns": "Shop Berlin"})
    lines = ctl_explain.reply("hub", question, sessions=True)["lines"]
    assert ("namespace", f"Shop Berlin ({UUID})") in [tuple(line) for line in lines]
    other = Attachment(domain.namespace(bytes(16)), "host-1", "10.0.0.2:1")
    domain.enter(other, 0.0)
    hub.sessions[2] = SimpleNamespace(attachment=other)
    with pytest.raises(
        ValueError, match=r": --ns 'Shop Berlin' --service hub, --ns 0{8}-\S+ --service hub; say"
    ):
        ctl_sessions.sessions_of({"hub": hub}, {"host": "host-1"})
    assert capture_service._choice({"ns": "Shop Berlin"}).namespace == BERLIN.hex()
    wanted = ctl_filter.read({"host": "host-1", "ns": "Shop Berlin"})
    assert wanted.words() == {"host": "host-1", "ns": UUID, "title": "Shop Berlin"}
    assert wanted.text() == f"host-1 in Shop Berlin ({UUID})"


def test_the_routes_of_a_title() -> None:
    namespace_titles.use([(BERLIN, "Shop Berlin")])
    hub: Any = SimpleNamespace(domain=Domain({}), settings=SimpleNamespace(name="hub"))
    tables: Any = SimpleNamespace(routers=list)
    reply = ctl_routes.routes({"hub": hub}, tables, {"ns": "Shop Berlin"})
    assert not list(filter(None, reply["routes"]))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="nor the title"):
        ctl_routes.routes({"hub": hub}, tables, {"ns": "Shop"})


def test_a_trace_names_the_tenant() -> None:
    fate = capture_fate.Fate(capture_fate.FORWARDED, BERLIN.hex(), "host-1")
    assert fate.sender() == "host-1 in Shop Berlin"
    assert fate._replace(host="", namespace=bytes(16).hex()).sender() == ""
    namespace_titles.use([])
    assert fate.sender() == f"host-1 in {UUID}"


def test_a_column() -> None:
    def shown(width: int | None, *rows: dict[str, str]) -> list[str]:
        columns = [cli_table.Column("host", lambda row: str(row["host"])), cli_columns.namespace_column(1)]
        return [line.rstrip() for line in cli_table.lines(columns, rows, width, colour=False)[1:]]

    rows = (
        {"host": "a", "namespace": UUID, "title": "Shop Berlin-Friedrichshain"},
        {"host": "a", "namespace": cli_columns.NOBODY, "title": "Office"},
        {"host": "a", "namespace": UUID, "title": ""},
        {"host": "a", "namespace": cli_columns.NOBODY},
    )
    assert shown(None, *rows) == [
        "a     Shop Berlin-Friedrichshain",
        "a     Office",
        f"a     {UUID}",
        "a     -",
    ]
    assert shown(24, *rows) == ["a     Shop Berlin-Fr…", "a     Office", f"a     {UUID[:8]}", "a     -"]


def test_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_setup.log, "handlers", [])
    monkeypatch.setattr(log_setup.log, "level", log_setup.log.level)
    monkeypatch.setattr(log_setup.log, "propagate", False)
    for style, said in (("text", f"in namespace Shop Berlin ({UUID})"), ("json", '"title": "Shop Berlin"')):
        log_setup.setup("info", style, str(tmp_path / style))
        hub_log.opened("hub", attached()[1], "tcp", "")
        log_setup.flush()
        text = (tmp_path / style).read_text()
        assert said in text
        assert UUID in text


def test_the_metric() -> None:
    text = b"".join(metrics.exposition(seen_of(hub_of(1)))).decode()
    assert f'tunrouter_namespace_info{{namespace="{UUID}",title="Shop Berlin"}} 1.0\n' in text
    namespace_titles.use([(bytes(12) + number.to_bytes(4, "big"), f"t{number}") for number in range(3000)])
    text = b"".join(metrics.exposition(seen_of(hub_of(1)))).decode()
    assert text.count("\ntunrouter_namespace_info{") == metrics_names.MAX_KEYS


def test_the_summary_of_check() -> None:
    found = resolved(
        routers=[{"name": UUID, "title": "Acme", "routes": [{"dst": "10.0.0.0/8", "gateway": "a"}]}]
    )
    assert f"    namespace {UUID}, Acme:" in settings_summary.words(found)
    assert json.loads(settings_summary.as_json(found))["namespaces"][0]["title"] == "Acme"


def test_a_reload_replaces_them() -> None:
    old, new = Settings(titles=((BERLIN, "A"),)), Settings(titles=((BERLIN, "B"), (BONN, "C")))
    assert service_reload._apply_titles(old, new) == ["titles of namespaces: 1 -> 2"]
    assert namespace_titles.all_titles() == [(BERLIN, "B"), (BONN, "C")]
    assert service_reload._apply_titles(new, new) == []


def test_a_policy_test_may_name_it() -> None:
    test = {"from": "host-1", "to": "10.0.0.9", "expect": "deny", "ns": "acme"}
    found = resolved(namespaces=[{"id": UUID, "title": "Acme"}], routers=[{"name": UUID}], tests=[test])
    assert found.tests[0].namespace == BERLIN
    with pytest.raises(ConfigError, match="and no title of a namespace"):
        resolved(
            namespaces=[{"id": UUID, "title": "Acme"}], routers=[{"name": UUID}], tests=[{**test, "ns": "b"}]
        )
