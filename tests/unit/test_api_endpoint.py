"""Endpoints: roles, parameters, namespaces of tenants, and the document that describes all of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lib import api_openapi, namespace_titles
from lib.api_endpoint import Endpoint, Field, answer, scope
from lib.api_request import EVERYBODY, TENANTS, Refused, Reply, Request, Who
from lib.settings_api import ADMIN, TENANT, VIEWER

NS = "00010203-0405-0607-0809-0a0b0c0d0e0f"
OTHER = "ff010203-0405-0607-0809-0a0b0c0d0e0f"
NOBODY = Who()
OWN = Who("t", TENANT, bytes.fromhex(NS.replace("-", "")))


def echo(request: Request) -> Reply:
    if request.query.get("q") == "wrong":
        raise ValueError("the handler's own words")
    return Reply({"q": request.query, "body": request.json()})


FIELDS = (
    Field("q", "text"),
    Field("n", "number", "integer", least=1, most=9),
    Field("r", "any", required=True),
)
LOOK = Endpoint("GET", "/x/a/<id>", echo, "Look.", query=FIELDS)
BODY = (
    Field("host", "a name", required=True),
    Field("list", "texts", "strings"),
    Field("s", "time", "number"),
)
DO = Endpoint("POST", "/x/a", echo, "Do.", TENANTS, body=BODY, fails=(409,))


def ask(endpoint: Endpoint, who: Who = NOBODY, body: Any = None, **query: str) -> Any:
    read = json.dumps(body).encode() if body is not None else b""
    head = {"x-tunrouter": "1"}
    request = Request(endpoint.method, endpoint.path, {}, query, head, who, read=lambda: read)
    return answer(endpoint, request).body


def refused(endpoint: Endpoint, who: Who = NOBODY, body: Any = None, **query: str) -> tuple[int, str]:
    with pytest.raises(Refused) as found:
        ask(endpoint, who, body, **query)
    return found.value.status, found.value.message


def test_a_change_needs_a_header_that_no_other_site_can_send() -> None:
    for headers in ({}, {"x-tunrouter": "0"}):
        with pytest.raises(Refused, match="X-Tunrouter: 1") as found:
            answer(DO, Request("POST", "/x/a", headers=headers, read=lambda: b'{"host":"h"}'))
        assert found.value.status == 403


def test_what_the_document_has_is_taken() -> None:
    assert ask(LOOK, r="1", n="9")["q"] == {"r": "1", "n": "9"}
    assert ask(DO, body={"host": "h", "list": ["a"], "s": 1.5})["body"]["list"] == ["a"]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({}, "r is missing: any"),
        ({"r": "", "n": "0"}, "n is 1 at least"),
        ({"r": "", "n": "10"}, "n is 9 at most"),
        ({"r": "", "n": "nan"}, "n is no number"),
        ({"r": "", "n": "9" * 400}, "n is out of range"),
        ({"r": "", "z": "1"}, "'z' is not known here; there is q, n, r"),
        ({"r": "a" * 513}, "r: texts of up to 512 characters"),
        ({"r": "a\0b"}, "r: texts of up to 512 characters"),
        ({"r": "", "q": "wrong"}, "the handler's own words"),
    ],
)
def test_a_query_that_is_wrong(query: Any, why: str) -> None:
    status, text = refused(LOOK, **query)
    assert (status, text.startswith(why)) == (400, True), text


@pytest.mark.parametrize(
    "body",
    [
        *([], "text", 1, {"host": 1}, {"host": None}, {"host": "h", "list": "a"}, {"host": "h", "list": [1]}),
        *({"host": "h", "s": True}, {"host": "h", "s": "1"}, {"host": "h", "more": 1}, {}),
    ],
    ids=str,
)
def test_a_body_that_is_wrong(body: Any) -> None:
    assert refused(DO, body=body)[0] == 400


def test_a_whole_number_may_have_a_point() -> None:
    """JSON has one kind of numbers: 5.0 is the integer 5."""
    endpoint = Endpoint("POST", "/x/b", echo, "Do.", TENANTS, body=(Field("n", "number", "integer"),))
    assert ask(endpoint, body={"n": 5.0})["body"] == {"n": 5}
    assert refused(endpoint, body={"n": 5.5})[0] == 400


def test_a_body_that_can_be_read_once_is_read_once() -> None:
    parts = iter([b'{"host":"h"}'])
    asked = Request("POST", "/x/a", headers={"x-tunrouter": "1"}, read=lambda: next(parts))
    body: Any = answer(DO, asked).body
    assert body["body"] == {"host": "h"}


def test_no_body_is_an_empty_object() -> None:
    assert refused(DO) == (400, "host is missing: a name")


def test_roles() -> None:
    assert refused(DO, Who("v", VIEWER), {"host": "h"})[0] == 403
    assert ask(DO, Who("a", ADMIN), {"host": "h"})
    assert ask(DO, OWN, {"host": "h"})
    assert refused(DO, Who(role=""), {"host": "h"})[0] == 403


def test_a_tenant_gets_its_own_namespace_whatever_it_asks_for() -> None:
    assert scope(Request("GET", "/", who=OWN)) == scope(Request("GET", "/", who=OWN), NS.upper()) == NS
    for wanted in (OTHER, "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(Refused, match="its own namespace only"):
            scope(Request("GET", "/", who=OWN), wanted)
    with pytest.raises(Refused):
        scope(Request("GET", "/", who=Who("t", TENANT, None)))
    assert scope(Request("GET", "/"), OTHER) == OTHER
    assert scope(Request("GET", "/")) == ""
    with pytest.raises(ValueError, match="UUID"):
        scope(Request("GET", "/"), "no-uuid")


def test_a_tenant_learns_no_title_of_others() -> None:
    """Whether another namespace has a title is answered as if it had none, without a hint."""
    namespace_titles.use([(OWN.namespace or b"", "Shop Bonn"), (bytes(16), "Shop Berlin")])
    try:
        assert scope(Request("GET", "/", who=OWN), "shop bonn") == NS
        for wanted in ("Shop Berlin", "Shop Berlim", "nothing"):
            with pytest.raises(Refused) as found:
                scope(Request("GET", "/", who=OWN), wanted)
            assert (found.value.status, found.value.message) == (403, "a tenant sees its own namespace only")
    finally:
        namespace_titles.use([])


def test_the_document_has_each_endpoint_with_what_it_takes() -> None:
    made = json.loads(json.dumps(api_openapi.document((LOOK, DO), "1.0")))
    look, do = made["paths"]["/x/a/{id}"]["get"], made["paths"]["/x/a"]["post"]
    assert [(one["name"], one["in"], one["required"]) for one in look["parameters"]] == [
        *(("id", "path", True), ("q", "query", False), ("n", "query", False), ("r", "query", True)),
    ]
    assert look["parameters"][2]["schema"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert (look["x-roles"], do["x-roles"]) == (sorted(EVERYBODY), sorted(TENANTS))
    assert set(look["responses"]) == {"200", "400", "401", "403", "404", "414", "429"}
    assert set(do["responses"]) == {"200", "400", "401", "403", "409", "413", "414", "429"}
    schema = do["requestBody"]["content"]["application/json"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["host"], False)
    assert len({re.sub(r"\W", "", one["operationId"]) for one in (look, do)}) == 2
