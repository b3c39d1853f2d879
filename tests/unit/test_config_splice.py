"""A YAML file of which some objects are replaced: the text of the others stays, with its comments."""

from __future__ import annotations

import pytest
import yaml

from lib.config_splice import spliced

TEXT = """\
# hubs
services:
  # the list
  - name: x  # the first
    note: |
      several
      lines

  # about y
  - {name: y, z: [1,
     2]}
log: {level: info}  # quiet
# tables
routers:
- name: r
- name: s
user: nobody
"""


def test_nothing_changes() -> None:
    assert spliced(TEXT, {}, {}) == TEXT
    assert spliced(TEXT, {"services": [0, 1], "routers": [0, 1]}, {}) == TEXT


def test_an_object_is_replaced_and_its_neighbours_keep_their_comments() -> None:
    made = spliced(TEXT, {"services": [0, {"name": "y", "addr": ":1"}], "routers": [0, 1]}, {})
    assert made == TEXT.replace("  # about y\n  - {name: y, z: [1,\n     2]}", "  - name: y\n    addr: :1")


def test_objects_are_added_and_removed() -> None:
    made = spliced(TEXT, {"services": [1], "routers": [0, 1, {"name": "t"}]}, {})
    assert "# about y\n  - {name: y" in made
    assert "# the first" not in made
    assert "- name: s\n- name: t\nuser: nobody\n" in made
    assert [one["name"] for one in yaml.safe_load(made)["services"]] == ["y"]


def test_keys_are_replaced_removed_and_added() -> None:
    made = spliced(TEXT, {"limiters": [{"name": "l"}]}, {"log": {"level": "debug"}, "user": None})
    assert "log:\n  level: debug\n# tables" in made
    assert "user" not in made
    assert made.endswith("limiters:\n  - name: l\n")
    assert "routers" not in spliced(TEXT, {"routers": []}, {})


def test_a_list_in_one_line_is_written_anew() -> None:
    made = spliced("a: [{name: x}]  # c\nb: 1\n", {"a": [{"name": "y"}]}, {})
    assert made == "a:\n  - name: y\nb: 1\n"


def test_a_file_without_an_end_of_line() -> None:
    assert spliced("a: 1", {"b": [{"name": "x"}]}, {}) == "a: 1\nb:\n  - name: x\n"


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ('{"a": [{"name": "x"}]}\n', {"a": [0]}),
        ("- a\n", {}),
        ("? [a]\n: 1\n", {}),
        ("a:\n-\n  name: x\n", {"a": [0]}),
        ("a: [{name: x}]\n", {"a": [0, {"name": "y"}]}),
    ],
)
def test_a_text_of_another_form_is_refused(text: str, lists: dict[str, list[object]]) -> None:
    with pytest.raises(ValueError):
        spliced(text, lists, {})
