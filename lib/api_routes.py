"""The paths of GOST's web API, each with its handler.

Knows: which path reads or changes what, GOST's answers.
Refuses to know: WSGI (api_app), shapes of objects (api_config), what a change is checked for
(api_change).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from lib import (
    api_audit,
    api_change,
    api_config,
    api_confirm,
    api_files,
    api_guard,
    api_json,
    api_status,
    config_read,
    service_collector,
    settings_changes,
)
from lib.api_config import KINDS, Kind, Rows
from lib.api_process import Process
from lib.api_request import (
    ADMINS,
    ALL_READ,
    CREATE_FAILED,
    EVERYBODY,
    INVALID,
    NOT_FOUND,
    TENANTS,
    Refused,
    Reply,
    Request,
    Route,
)
from lib.api_tags import Tags, is_known
from lib.config_no_effect import keys_of
from lib.config_schema import Config
from lib.config_section import Part
from lib.errors import ConfigError, HostError
from lib.settings import Settings
from lib.settings_api import TENANT

_OF_TENANTS = "routers"
"""The kind of objects of which some are a tenant's."""
_WITH_STATE = "services"
"""The kind of objects of which an answer also says what they are doing."""
_YAML = "text/x-yaml"
_DONE = Reply({"msg": "OK"})


_ELSEWHERE = {"bypasses": "bypass", "resolvers": "resolver", "recorders": "recorder"}
"""GOST's kinds of objects that no routing tunnel has -> GOST's noun."""


def routes(process: Process) -> list[Route]:
    """All paths of the API of a process."""
    tags = Tags(os.urandom(16))
    return [*_reads(process, tags), *_writes(process, tags), *_of_no_tunnel()]


def _of_no_tunnel() -> Iterator[Route]:
    """Kinds of which there is nothing here: GOST's answers about none, and why there can be none."""
    for key, noun in _ELSEWHERE.items():
        path, why = f"/config/{key}", f"{key!r} {keys_of('Config')[key]}"
        yield Route("GET", path, lambda request: Reply({"data": {"count": 0, "list": None}}), ALL_READ)
        yield Route("GET", f"{path}/<name>", lambda request: Reply({"data": None}), ALL_READ)
        yield Route("POST", path, partial(_refuse, INVALID, why))
        for method in ("PUT", "DELETE"):
            yield Route(method, f"{path}/<name>", partial(_refuse, NOT_FOUND, f"{noun} NAME not found"))


def _refuse(code: int, text: str, request: Request) -> Reply:
    raise Refused(code, text.replace("NAME", request.arguments.get("name", "")))


def _reads(process: Process, tags: Tags) -> list[Route]:
    found = [Route("GET", "/config", partial(_whole, process, tags), EVERYBODY)]
    for kind in KINDS.values():
        rows = Rows()
        readers = EVERYBODY if kind.key == _OF_TENANTS else ALL_READ
        found.append(Route("GET", f"/config/{kind.key}", partial(_list, process, tags, kind, rows), readers))
        found.append(
            Route("GET", f"/config/{kind.key}/<name>", partial(_single, process, tags, kind), readers)
        )
    return found


def _whole(process: Process, tags: Tags, request: Request) -> Reply:
    config = api_config.seen(process.changes.config, request.who)
    style = request.query.get("format", "")
    if style not in ("", "json", "yaml"):
        raise Refused(INVALID, f"format {style[:32]!r} is unknown: there are json and yaml")
    states = api_status.States(process.hubs, (one.name for one in config.services), request.step)
    tag = tags.with_state(tags.of_version(process.changes.version), states.all(), request.step)
    if (known := _known(process, tags, tag, request)) is not None:
        return known
    headers = (("ETag", tag),)
    if style == "yaml":
        return Reply(api_config.as_yaml(config, states.of, request.step), kind=_YAML, headers=headers)
    body = api_config.whole(config, states.of, request.step)
    return Reply(body, kind="application/json", headers=headers)


def _list(process: Process, tags: Tags, kind: Kind, rows: Rows, request: Request) -> Reply:
    config = api_config.seen(process.changes.config, request.who)
    named = config.services if kind.key == _WITH_STATE else ()
    states = api_status.States(process.hubs, (one.name for one in named), request.step)
    tag = tags.of_version(process.changes.version)
    if kind.key == _WITH_STATE:
        tag = tags.with_state(tag, states.all(), request.step)
    if (known := _known(process, tags, tag, request)) is not None:
        return known
    body = api_config.listing(config, kind, states.of, rows, request.step)
    return Reply(body, headers=(("ETag", tag),))


def _single(process: Process, tags: Tags, kind: Kind, request: Request) -> Reply:
    config, step = api_config.seen(process.changes.config, request.who), request.step
    name = request.arguments["name"]
    found = api_config.find(config, kind, name)
    states = api_status.States(process.hubs, [name] if kind.key == _WITH_STATE else (), step)
    headers: tuple[tuple[str, str], ...] = ()
    if found is not None:
        tag = tags.of_object(found, step)
        if kind.key == _WITH_STATE:
            tag = tags.with_state(tag, states.all(), step)
        if (known := _known(process, tags, tag, request, found)) is not None:
            return known
        headers = (("ETag", tag),)
    return Reply(api_config.single(config, kind, name, states.of, step), headers=headers)


def _known(
    process: Process, tags: Tags, tag: str, request: Request, found: Part | None = None
) -> Reply | None:
    """The answer to who has what they ask for already; None for all others."""
    if "if-match" in request.headers:
        wanted = {"if-match": request.headers["if-match"]}
        tags.check(wanted, process.changes.version, found, request.step)
    return Reply(b"", 304, headers=(("ETag", tag),)) if is_known(request.headers, tag) else None


# --- changes ------------------------------------------------------------------------------------


def _writes(process: Process, tags: Tags) -> list[Route]:
    found = [
        Route("POST", "/config", partial(_save, process, tags)),
        Route("POST", "/config/reload", partial(_reload, process, tags)),
    ]
    for kind in KINDS.values():
        writers = TENANTS if kind.key == _OF_TENANTS else ADMINS
        found.append(Route("POST", f"/config/{kind.key}", partial(_add, process, tags, kind), writers))
        found.append(
            Route("PUT", f"/config/{kind.key}/<name>", partial(_replace, process, tags, kind), writers)
        )
        found.append(
            Route("DELETE", f"/config/{kind.key}/<name>", partial(_remove, process, tags, kind), writers)
        )
    return found


def _reload(process: Process, tags: Tags, request: Request) -> Reply:
    def reread() -> None:
        tags.check(request.headers, process.changes.version)
        problems = process.changes.reload()
        if problems:
            raise Refused(CREATE_FAILED, f"nothing was changed: {'; '.join(problems[:3])}")

    return _changed(process, request, "reload the configuration", reread)


def _save(process: Process, tags: Tags, request: Request) -> Reply:
    path = request.query.get("path", "")
    if path and not request.who.has_login:
        text = "without a login the API saves to the file that it was started with, and to no other"
        raise Refused(403, f"{text}: give the api section an auth or an auther")
    with process.changes.alone(), service_collector.paused(stays=False):
        process.confirmations.check_free()  # a file never holds what nobody has confirmed
        tags.check(request.headers, process.changes.version)
        target = api_files.save(process, request.query.get("format", ""), path)
    api_audit.tell(request, f"save the configuration to {target}")
    return _DONE


def _add(process: Process, tags: Tags, kind: Kind, request: Request) -> Reply:
    body = request.json()
    _check_name(request, api_change.given_name(body))

    def make(config: Config) -> Config:
        tags.check(request.headers, process.changes.version)
        changed, section = api_change.added(config, kind, body, request.step)
        _guard(request, kind, None, section)
        return changed

    made = _apply(process, request, make, f"create {kind.noun} {api_change.given_name(body)}")
    api_json.release(body, request.step)
    return made


def _replace(process: Process, tags: Tags, kind: Kind, request: Request) -> Reply:
    name, body = request.arguments["name"], request.json()
    _check_name(request, name)

    def make(config: Config) -> Config:
        old = api_change.existing(config, kind, name)
        tags.check(request.headers, process.changes.version, old, request.step)
        changed, section = api_change.replaced(config, kind, name, body, request.step)
        _guard(request, kind, old, section)
        return changed

    failed = f"create {kind.noun} {name}"  # GOST's word
    made = _apply(process, request, make, f"replace {kind.noun} {name}", failed)
    api_json.release(body, request.step)
    return made


def _remove(process: Process, tags: Tags, kind: Kind, request: Request) -> Reply:
    name = request.arguments["name"]
    _check_name(request, name)

    def make(config: Config) -> Config:
        old = api_change.existing(config, kind, name)
        tags.check(request.headers, process.changes.version, old, request.step)
        _guard(request, kind, old, None)
        return api_change.removed(config, kind, name, request.step)

    return _apply(process, request, make, f"delete {kind.noun} {name}")


def _check_name(request: Request, name: str) -> None:
    """Refuse a change of a tenant that is not about their own namespace. Raises Refused."""
    if request.who.role == TENANT and not api_config.is_of(name, request.who):
        raise Refused(403, "the role tenant changes the router whose name is its namespace, and nothing else")


def _guard(request: Request, kind: Kind, old: Part | None, new: Part | None) -> None:
    """Refuse what a tenant, or somebody without a login, may not change. Raises Refused."""
    who = "" if not request.who.has_login else "a tenant" if request.who.role == TENANT else None
    if who is not None:
        step = request.step
        before, after = (config_read.plain(one, step=step) if one is not None else {} for one in (old, new))
        api_guard.check(kind.key, before, after, who, step)


def _apply(
    process: Process, request: Request, make: Callable[[Config], Config], what: str, failing: str = ""
) -> Reply:
    """Use another configuration. Raises Refused where it is wrong, or where this host does not allow it.

    `what` is done, and `failing` (empty for the same) is what has failed.
    """
    trying = failing or what

    def use() -> None:
        try:
            failed = process.changes.apply(make)
        except ConfigError as error:
            raise Refused(CREATE_FAILED, f"{trying} failed: {api_change.told(error.problems)}") from None
        except HostError as error:
            raise Refused(CREATE_FAILED, f"{trying} failed: {error}") from None
        if failed:
            raise Refused(CREATE_FAILED, f"{trying} failed: {'; '.join(why for _, why in failed[:3])}")

    return _changed(process, request, what, use)


def _changed(process: Process, request: Request, what: str, change: Callable[[], None]) -> Reply:
    """Make a change while no other one waits, and none is made. Raises Refused, also what `change` raises."""
    api_confirm.seconds(request)

    def work() -> Reply:
        with process.changes.alone(), service_collector.paused(stays=False):
            process.confirmations.check_free()
            before, put_back = process.changes.settings, process.changes.keep()
            change()
            return _done(process, request, what, before, put_back)

    return api_confirm.to_the_end(work)


def _done(
    process: Process, request: Request, what: str, before: Settings, put_back: Callable[[int], bool]
) -> Reply:
    """A change was made: the audit log has it, and it waits to be confirmed where that is wanted."""
    found = settings_changes.changes(before, process.changes.settings, request.step)
    api_audit.tell(request, what, settings_changes.lines(found))
    number = process.confirmations.begin(request, what, put_back)
    return Reply({"msg": "OK", "confirm": number}) if number else _DONE
