"""Requests made from the OpenAPI document: every answer has a status and a form that the document names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import Api, process
from tests.unit.test_api_x_served import ADA, EVE, HEAD, TEN, text_of

_WORDS = (
    *("a", "host-1", "10.0.0.0/24", "10.0.0.1", "tcp", "60s", "0", "1", "-1", "nan", "\0", "x" * 600, "hub"),
    *("0-10.0.0.0/24", "0.0.0.1", "e87f56dd-fd57-4921-9ab8-a0847662daae", "\udc80"),
)
_TEXTS = st.text(max_size=8) | st.sampled_from(_WORDS)
_ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | _TEXTS
    | st.lists(_TEXTS, max_size=3)
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    place: Path = tmp_path_factory.mktemp("api")
    with process(place / "hub.yml", text_of(place)) as made:
        yield made


@pytest.fixture(scope="module")
def operations(api: Api) -> list[tuple[str, str, Any]]:
    document = api.ask("GET", "/x/openapi.json", None, ADA).json
    found = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(found) > 20
    return found


def request(draw: Any, path: str, operation: Any) -> tuple[str, Any]:
    """(path with its query, body): as the document has them, or not."""
    given_ = []
    for parameter in operation["parameters"]:
        name, where, kind = parameter["name"], parameter["in"], parameter["schema"]["type"]
        numbers = st.integers(-2, 700).map(str) | st.floats(-1, 1e9).map(str)
        value = draw(numbers | _TEXTS if kind in ("integer", "number") else _TEXTS)
        if where == "path":
            path = path.replace(f"{{{name}}}", draw(st.sampled_from(["1", "2", "x", "99"])))
        elif where == "query" and (parameter["required"] or draw(st.booleans())):
            given_.append((name, value))
    if draw(st.integers(0, 9)) == 0:
        given_.append(("more", "1"))
    schema = (
        operation.get("requestBody", {"content": {}})["content"].get("application/json", {}).get("schema")
    )
    body = None
    if schema is not None:
        names = [name for name in schema["properties"] if name in schema["required"] or draw(st.booleans())]
        body = {name: draw(_ANYTHING) for name in names} if draw(st.integers(0, 9)) else draw(_ANYTHING)
    query = "&".join(f"{name}={_quoted(value)}" for name, value in given_)
    return (f"{path}?{query}" if query else path), body


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogateescape"))


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
def test_whatever_is_asked_the_answer_is_as_described(
    api: Api, operations: list[tuple[str, str, Any]], data: Any
) -> None:
    path, method, operation = data.draw(st.sampled_from(operations))
    (answered,) = operation["responses"]["200"]["content"]
    asked, body = request(data.draw, path, operation)
    login = data.draw(st.sampled_from([ADA, EVE, TEN]))
    if answered != "application/json":
        asked += "&more=1" if "?" in asked else "?more=1"  # a stream that is refused: others have no end
    text = json.dumps(body).encode() if body is not None else None
    answer = api.ask(method.upper(), asked, text, login, HEAD)
    assert str(answer.status) in operation["responses"], (method, asked, body, answer.body)
    found = answer.json
    if answer.status == 200:
        assert set(operation["responses"]["200"]["content"][answered]["schema"].get("required", ())) <= set(
            found
        )
    else:
        assert str(found["code"]).startswith(str(answer.status)), "ours is the status, GOST's begins with it"
        assert found["msg"]
