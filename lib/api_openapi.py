"""The OpenAPI document of tunrouter's own web API, made from the table of its endpoints.

Knows: OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0), the form of errors.
Refuses to know: which endpoints there are (api_x), GOST's part of the API, whose document is GOST's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lib.api_endpoint import HEADER, MAX_TEXT, Endpoint, Field
from lib.api_request import JSON as _JSON

JSON = _JSON.partition(";")[0]

_TITLE = "tunrouter"
_IN_PATH = re.compile(r"<(\w+)>")
_ERRORS = {
    400: "What was asked cannot be read, or is not known.",
    401: "A login is needed.",
    403: "The role of this login may not do this.",
    404: "There is no such thing.",
    409: "It cannot be done as things are now.",
    412: "If-Match: it has changed meanwhile.",
    413: "The body is too long.",
    422: "The configuration has problems.",
    429: "Too many at once, or too many attempts.",
    503: "Who decides cannot be asked at the moment.",
}


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The document, as a JSON value."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(_IN_PATH.sub(r"{\1}", endpoint.path), {})[endpoint.method.lower()] = _operation(
            endpoint
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version},
        "paths": paths,
        "security": [{"basic": []}, {"cookie": []}, {}],
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "tunrouter"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["code", "msg"],
                    "properties": {
                        "code": {"type": "integer"},
                        "msg": {"type": "string"},
                        "hint": {"type": "string"},
                    },
                }
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    in_path = [
        _parameter(Field(name, "Its id.", required=True), "path") for name in _IN_PATH.findall(endpoint.path)
    ]
    fails = {400, 401, 403, 429, *endpoint.fails} | ({404} if in_path else set())
    fails |= {413} if endpoint.method != "GET" else set()
    operation: dict[str, Any] = {
        "summary": endpoint.about,
        "operationId": "_".join([endpoint.method.lower(), *re.findall(r"\w+", endpoint.path)]),
        "parameters": [*in_path, *(_parameter(one, "query") for one in endpoint.query)],
        "responses": {
            "200": {
                "description": "Done.",
                "content": {endpoint.kind.partition(";")[0]: {"schema": _given(endpoint)}},
            },
            **{str(status): _error(status) for status in sorted(fails)},
            "414": {"description": "The address is too long. The answer has no body."},
        },
        "x-roles": sorted(endpoint.roles),
    }
    if endpoint.method != "GET":
        operation["parameters"].append(
            {
                "name": HEADER,
                "in": "header",
                "required": True,
                "description": "A page of another site cannot send it.",
                "schema": {"type": "string", "enum": ["1"]},
            }
        )
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _body(endpoint.body)}}}
    return operation


def _given(endpoint: Endpoint) -> Mapping[str, Any]:
    return {"type": "string"} if endpoint.kind != _JSON else dict(endpoint.gives) or {"type": "object"}


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": _ERRORS[status], "content": {JSON: {"schema": schema}}}


def _parameter(one: Field, where: str) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": where,
        "required": one.required,
        "description": one.about,
        "schema": _schema(one),
    }


def _body(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {one.name: {**_schema(one), "description": one.about} for one in fields},
        "required": [one.name for one in fields if one.required],
        "additionalProperties": False,
    }


def _schema(one: Field) -> dict[str, Any]:
    if one.kind == "strings":
        return {"type": "array", "items": {"type": "string", "maxLength": MAX_TEXT}}
    schema: dict[str, Any] = {"type": one.kind}
    if one.kind == "string":
        schema["maxLength"] = MAX_TEXT
    if one.least is not None:
        schema["minimum"] = one.least
    if one.most is not None:
        schema["maximum"] = one.most
    return schema
