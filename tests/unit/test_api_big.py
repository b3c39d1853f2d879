"""Big objects are shown as small ones are, and no step of that takes long."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from lib import api_big, config_print
from lib.config_read import as_yaml

ROWS = [{"dst": f"10.{n}.0.0/16", "gateway": f"g: {n}", "password": "s3cret"} for n in range(100)]
VALUES: list[Any] = [
    {"name": "r", "routes": ROWS, "mtu": 1400},
    {"name": "c", "hops": [{"name": "h", "nodes": ROWS}, {"name": "i", "nodes": ROWS[:2]}]},
    {"a": [[[n, str(n)] for n in range(90)], [], {}, None, "x\ny\n"], "k" * 200: list(range(70))},
    {"auth": {f"u{n}": {"username": "u", "x": [n]} for n in range(90)}, "token": ["t"] * 99},
    {
        "title": "é<&\U0001f600\\ud83d\x7f\x85\n" * 900,
        "list": ["x" * 5000, "y", {"z": "#\n" * 3000}],
        "none": {},
    },
    {"name": "small", "x": [1, {"password": "p"}]},
]


@pytest.fixture(params=range(len(VALUES)))
def value(request: pytest.FixtureRequest) -> Any:
    return VALUES[request.param]


def test_a_big_object_is_written_as_a_small_one(value: Any) -> None:
    made = list(api_big.as_json(value))
    assert json.loads(b"".join(made)) == value
    assert b"<" not in b"".join(made)
    assert yaml.safe_load("".join(config_print.as_yaml(value))) == value
    inner = "".join(config_print.as_yaml([value], "    "))
    assert yaml.safe_load(f"all:\n{inner}") == {"all": [value]}


def test_it_is_laid_out_as_a_small_one() -> None:
    assert "".join(config_print.as_yaml(VALUES[1])) == as_yaml(VALUES[1])


def test_no_piece_is_big() -> None:
    """What holds up packets is the one call for all."""
    rows = [{"dst": f"10.{n}.0.0/16"} for n in range(10_000)]
    value = {"routes": rows}
    assert max(map(len, api_big.as_json(value))) < 2000
    assert max(map(len, config_print.as_yaml([value]))) < 2000
    assert max(map(len, config_print.portions(rows))) <= config_print.MOST
