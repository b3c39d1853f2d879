"""Checks replies of the control socket against their JSON schema (packaging/schema/control.json)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.netns import ROOT


@cache
def schema() -> dict[str, Any]:
    """The whole schema."""
    found: dict[str, Any] = json.loads((ROOT / "packaging" / "schema" / "control.json").read_text())
    return found


def check(answer: object, name: str) -> None:
    """Check a reply against the definition of that name, and against the schema as a whole."""
    Draft202012Validator.check_schema(schema())
    Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema()["$defs"]}).validate(answer)
    Draft202012Validator(schema()).validate(answer)
