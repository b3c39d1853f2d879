"""Reader and printer of configurations: YAML or JSON text into typed sections and back, all problems at once.

Knows: how a tree (config_yaml) fills sections (config_schema), how configurations are merged, how they are
printed.
Refuses to know: whether the values make sense together (config_resolve), and where the texts come from
(cli_main).

    text -> config_yaml.parse -> tree -> read() -> Config -> merge() -> config_resolve.resolve()
                                                  ^                        |
    -L/-F -> config_from_urls.read() ----------------------+               settings.Settings

read() always returns a Config with what could be read and with the problems, so that the next stage
can look for more; load() raises instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from msgspec.structs import FieldInfo, fields

from lib import config_section, config_yaml
from lib.config_findings import Findings, at_once
from lib.config_gost_keys import section_hint
from lib.config_instead import misplaced
from lib.config_schema import Config
from lib.config_section import Part, Section, section_fields
from lib.config_yaml import Mapping, Scalar, Sequence, Tree, generic, parse
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.go_values import Duration, format_duration, parse_duration, parse_integer, parse_switch

S = TypeVar("S", bound=Section)

NAMES = ("tunrouter.yaml", "tunrouter.yml", "tunrouter.json")


def default_files(home: str) -> list[str]:
    """The files that are tried when neither -C nor -L is given, in order: the first that exists is read."""
    return [f"{folder}/{name}" for folder in ("/etc/tunrouter", f"{home}/.tunrouter", ".") for name in NAMES]


def is_inline(source: str) -> bool:
    """Whether a value of -C is the configuration itself (JSON) and no file name."""
    return source.lstrip().startswith("{")


def is_url(source: str) -> bool:
    """Whether a value of -C is a URL to fetch the configuration from."""
    return source.lower().startswith(("http://", "https://"))


def read(sources: Iterable[tuple[str, str]], step: Callable[[], None] = at_once) -> Config:
    """Read texts, given as (name, text), into one configuration. `step` is as in Findings.

    Problems stay in the result's `problems`, beside what could be read.
    """
    return merge(_read_one(name, text, step) for name, text in sources)


def merge(configs: Iterable[Config]) -> Config:
    """Merge configurations as GOST does: lists are appended, of single sections the last one counts."""
    total = Config()
    for config in configs:
        for field in fields(Config):
            value = getattr(config, field.name)
            if isinstance(value, list):
                getattr(total, field.name).extend(value)
            elif value:
                setattr(total, field.name, value | total.at if field.name == "at" else value)
    return total


def of_tree(cls: type[S], tree: Tree, found: Findings) -> S:
    """A section of a tree that comes from elsewhere than a text; problems and warnings go to `found`."""
    return _part(cls, tree, found) if issubclass(cls, Part) else _section(cls, tree, found)


def plain(section: Section, style: str = "json", step: Callable[[], None] = at_once) -> dict[str, object]:
    """A section as dicts, lists and scalars, without what is empty; durations as `render` has them."""
    return _plain(section, int if style == "json" else format_duration, step)


def release_trees(section: Section, trees: Iterable[Tree], step: Callable[[], None]) -> None:
    """Free trees of which a section was made, in steps; what the section keeps of them (metadata) stays."""
    kept: set[int] = set()
    for one in config_section.walk(section):
        waiting = [value for name in _kept_as_trees(type(one)) for value in getattr(one, name).values()]
        while waiting:
            node = waiting.pop()
            kept.add(id(node))
            if isinstance(node, Sequence):
                waiting += node.items
            elif isinstance(node, Mapping):
                waiting += (value for _, value in node.items)
        step()
    for tree in trees:
        config_yaml.release(tree, step, kept)


@cache
def _kept_as_trees(cls: type[Section]) -> tuple[str, ...]:
    return tuple(field.name for field in section_fields(cls) if get_origin(field.type) is dict)


def release(config: Config, step: Callable[[], None]) -> None:
    """Free a configuration that is of no more use, in steps (config_yaml.release)."""
    config_section.release(config, step)
    for tree in config.trees:
        config_yaml.release(tree, step)


def _read_one(name: str, text: str, step: Callable[[], None]) -> Config:
    tree, problems = parse(name, text, step)
    found = Findings(problems, step=step)
    if tree is None or (isinstance(tree, Scalar) and tree.is_null):
        config = Config(at={"": Position(name)})
    else:
        config = _section(Config, tree, found)
    config.problems, config.warnings = found.problems, found.warnings
    config.trees = [tree] if tree is not None else []
    return config


# --- a tree into sections -----------------------------------------------------------------------


def _section(cls: type[S], tree: Tree, found: Findings) -> S:
    """Fill a section; a field that cannot be read keeps its default and costs a problem."""
    section = cls(at={"": tree.where})
    if not isinstance(tree, Mapping):
        found.error(tree.where, f"{_title(cls)} wants keys and values, not {_kind(tree)}")
        return section
    found.step()
    keys, at = _keys(cls), section.at
    for key, value in tree.items:
        known = keys.get(key.text.lower())
        if known is None:
            _foreign_or_unknown(section, key, found)
        elif not (isinstance(value, Scalar) and value.is_null):
            field, decode = known
            at[field.name] = value.where
            if decode is _metadata and isinstance(value, Mapping):
                at |= {f"{field.name}.{name.text.lower()}": name.where for name, _ in value.items}
            decoded = decode(field, value, found)
            if decoded is not None:
                setattr(section, field.name, decoded)
        elif not value.text:  # `pin:` and nothing: not set, but written
            at[known[0].name] = value.where
    return section


def _part(cls: type[S], tree: Tree, found: Findings) -> S:
    """A section of a list of the configuration, which keeps what was found in it."""
    own = Findings(step=found.step)
    section = _section(cls, tree, own)
    assert isinstance(section, Part)
    section.problems, section.warnings = own.problems, own.warnings
    found.add(own.problems)
    for warning in own.warnings:
        found.warn(warning.where, warning.message, warning.hint)
    return section


Decode = Callable[[FieldInfo, Tree, Findings], Any]
"""Makes a value of the type that a field wants; None after a problem."""


@cache
def _keys(cls: type[Section]) -> dict[str, tuple[FieldInfo, Decode]]:
    """The keys of a section, lower case, each with its field and how its value is read."""
    return {field.encode_name.lower(): (field, _decode(field)) for field in section_fields(cls)}


def _foreign_or_unknown(section: Section, key: Scalar, found: Findings) -> None:
    cls, name = type(section), key.text.lower()
    if name in cls.foreign or name in {word.replace("_", "") for word in cls.not_yet}:
        section.at.setdefault(name, key.where)
        if cls.foreign.get(name):
            found.warn(key.where, f"{key.text!r} in {_title(cls)} {cls.foreign[name]}")
        return
    elsewhere = misplaced(cls.__name__).get(name)
    if elsewhere:
        found.error(key.where, f"{key.text!r} in {_title(cls)} has no effect, in GOST neither", elsewhere)
        return
    spelled = [field.encode_name for field in section_fields(cls)]
    hint = did_you_mean(key.text, spelled) or section_hint(name, cls.__name__)
    found.error(key.where, f"unknown key {key.text[:64]!r} in {_title(cls)}", hint)


def _title(cls: type[Section]) -> str:
    if cls is Config:
        return "the configuration"
    name = _WORD.sub(" ", cls.__name__).lower()
    return f"a{'n' * (name[0] in 'aeiou')} {name} section"


def _kind(tree: Tree) -> str:
    return {Scalar: "a text", Sequence: "a list", Mapping: "keys and values"}[type(tree)]


def _decode(field: FieldInfo) -> Decode:
    if get_origin(field.type) is list:
        return partial(_items, get_args(field.type)[0])
    if get_origin(field.type) is Annotated:
        return _commas if get_args(field.type)[0] is str else _texts
    if get_origin(field.type) is dict:
        return _metadata if field.name == "metadata" else _named
    wanted = _bare(field.type)
    if wanted in _SCALARS:
        return partial(_scalar, _SCALARS[wanted])
    read_section = _part if issubclass(wanted, Part) else _section
    return lambda _, tree, found: read_section(wanted, tree, found)


def _bare(wanted: Any) -> Any:
    """The type without `None` beside it."""
    return get_args(wanted)[0] if type(None) in get_args(wanted) else wanted


def _items(wanted: Any, field: FieldInfo, tree: Tree, found: Findings) -> list[Any] | None:
    if not isinstance(tree, Sequence):
        found.error(tree.where, f"{field.encode_name!r} wants a list, not {_kind(tree)}")
        return None
    if wanted not in _SCALARS:
        read_item = _part if issubclass(wanted, Part) else _section
        return [read_item(wanted, item, found) for item in tree.items]
    read_text = _SCALARS[wanted]
    values = [_scalar(read_text, field, item, found) for item in found.each(tree.items)]
    return [value for value in values if value is not None]


def _texts(field: FieldInfo, tree: Tree, found: Findings) -> list[str] | None:
    """A list of texts, or one text with commas (config_section.Texts)."""
    if not isinstance(tree, Scalar):
        return _items(str, field, tree, found)
    return [word for word in map(str.strip, tree.text.split(",")) if word]


def _commas(field: FieldInfo, tree: Tree, found: Findings) -> str | None:
    """One text with commas, or a list of which it is made (config_section.Commas)."""
    if isinstance(tree, Scalar):
        return tree.text
    items = _items(str, field, tree, found)
    return None if items is None else ",".join(items)


def _named(field: FieldInfo, tree: Tree, found: Findings) -> dict[str, Tree] | None:
    """Values by names as they are written (config_section.Named)."""
    if isinstance(tree, Mapping):
        return {key.text: value for key, value in tree.items}
    found.error(tree.where, f"{field.encode_name!r} wants keys and values, not {_kind(tree)}")
    return None


def _metadata(field: FieldInfo, tree: Tree, found: Findings) -> dict[str, Tree] | None:
    """Metadata as key -> tree: the types are known to config_resolve only. Keys in lower case, as in GOST."""
    if isinstance(tree, Mapping):
        return {key.text.lower(): value for key, value in tree.items}
    found.error(tree.where, f"{field.encode_name!r} wants keys and values, not {_kind(tree)}")
    return None


def _scalar(read_text: Callable[[str], Any], field: FieldInfo, tree: Tree, found: Findings) -> Any:
    if not isinstance(tree, Scalar):
        found.error(tree.where, f"{field.encode_name!r} wants one value, not {_kind(tree)}")
        return None
    try:
        return read_text(tree.text)
    except ValueError as wrong:
        found.error(tree.where, f"{field.encode_name!r}: {wrong}")
        return None


_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])(?!Opts)")
"""Between two words of a class's name; sockopts is one word in GOST."""
_SCALARS: dict[Any, Callable[[str], Any]] = {
    str: str,
    bool: parse_switch,
    int: parse_integer,
    Duration: parse_duration,
}


# --- sections into text -------------------------------------------------------------------------


def render(config: Config, style: str) -> str:
    """Print as GOST's -O does; style is "json" or "yaml". Empty fields are left out.

    Durations are nanoseconds in JSON, Go strings in YAML.
    """
    if style == "json":
        return json.dumps(plain(config), indent=2, ensure_ascii=False) + "\n"
    return as_yaml(plain(config, style))


def as_yaml(value: object) -> str:
    """Dicts, lists and scalars as YAML, laid out as GOST's."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _plain(
    section: Section, duration: Callable[[int], object], step: Callable[[], None]
) -> dict[str, object]:
    """A section as a dict of builtins, without what is empty."""
    plain: dict[str, object] = {}
    for name, spelled, may_be_none, required in _printed(type(section)):
        value = getattr(section, name)
        # an empty section that was written (`tls: {}`) differs from none, and 0 differs from None
        if value or required or (may_be_none and value is not None):
            plain[spelled] = _plain_value(value, duration, step)
    return plain


@cache
def _printed(cls: type[Section]) -> tuple[tuple[str, str, bool, bool], ...]:
    """The keys of a section: (field, name in a file, may it be None, is it always printed)."""
    return tuple(
        (field.name, field.encode_name, type(None) in get_args(field.type), field.name in cls.required)
        for field in section_fields(cls)
    )


def _plain_value(value: Any, duration: Callable[[int], object], step: Callable[[], None]) -> object:
    step()
    if isinstance(value, Section):
        return _plain(value, duration, step)
    if isinstance(value, list):
        return [_plain_value(item, duration, step) for item in value]
    if isinstance(value, dict):
        made = {}
        for key, tree in sorted(value.items()):
            made[key] = generic(tree)
            step()
        return made
    return duration(value) if isinstance(value, Duration) else value


class _Dumper(yaml.SafeDumper):
    """Lists indented under their key, nothing as an alias."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True
