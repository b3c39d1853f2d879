"""Settings that are read again for a reload: what is parsed anew, and what is not; places of mistakes stay."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib import cli_config, service_threads
from lib.errors import ConfigError
from lib.settings import Settings

HUB = """services:
- {name: hub, addr: ':8443', handler: {type: router, auther: a, metadata: {router: r}}, listener: {type: tcp}}
routers:
- {name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}
authers:
- name: a
  auths:
  - {username: u, password: '${file:SECRET}'}
"""
NO_OPTIONS = ("--api", "--metrics", "-D", "--only-tunnel", "--user", "--trace")


class Files:
    """A configuration file with a secret in another one, and how often anything was parsed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config, self.secret = folder / "hub.yml", folder / "secret"
        self.secret.write_text("first\n")
        self.text = HUB.replace("SECRET", str(self.secret))
        self.config.write_text(self.text)
        options: dict[str, Any] = dict.fromkeys(NO_OPTIONS)
        options |= {"-C": [str(self.config)], "-L": [], "-F": [], "--control": "none"}
        self.options = options
        self.reading = cli_config.Rereading(options)
        self.parsed = 0
        parse = yaml.parse

        def counted(*arguments: Any, **options: Any) -> Any:
            self.parsed += 1
            return parse(*arguments, **options)

        monkeypatch.setattr(yaml, "parse", counted)

    def problems(self) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.reading.settings()
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(tmp_path, monkeypatch)


def password(settings: Settings) -> str:
    return settings.hubs[0].authers[0].logins[0].password


def test_a_reload_of_the_same_bytes_parses_nothing(files: Files) -> None:
    first = files.reading.settings()
    files.config.write_text(files.text)  # as a deployment does that writes it again
    assert files.reading.settings() is first
    assert files.parsed == 1


def test_a_reload_finds_every_byte_that_changed(files: Files) -> None:
    files.reading.settings()
    files.config.write_text(files.text.replace("10.0.0.0/8", "11.0.0.0/8"))
    assert str(files.reading.settings().tables[0].routes[0]) == "11.0.0.0/8"


def test_a_reload_finds_a_secret_that_changed_in_its_own_file(files: Files) -> None:
    assert password(files.reading.settings()) == "first"
    files.secret.write_text("second\n")
    assert password(files.reading.settings()) == "second"


def test_a_mistake_is_told_at_its_place_again_without_being_read_again(files: Files) -> None:
    files.reading.settings()
    files.config.write_text(files.text.replace("gateway", "gatway"))
    wrong = f"{files.config}:4:40: unknown key 'gatway' in a route section; did you mean 'gateway'?"
    assert wrong in files.problems()
    parsed = files.parsed
    assert wrong in files.problems()
    assert files.parsed == parsed
    files.config.write_text(files.text)
    assert password(files.reading.settings()) == "first"


def test_a_secret_that_is_gone_is_told_until_it_is_back(files: Files) -> None:
    files.reading.settings()
    files.secret.unlink()
    wrong = f"{files.config}:8:29: {files.secret}: No such file or directory"
    assert files.problems() == [wrong]
    assert files.problems() == [wrong]
    files.secret.write_text("back\n")
    assert password(files.reading.settings()) == "back"


def test_what_a_reload_compares_by_tells_no_secret(files: Files) -> None:
    """Only digests are kept of what was read, with a key that another process does not have."""
    files.reading.settings()
    again = cli_config.Rereading(files.reading._arguments)
    again.settings()
    kept, others = files.reading._references, again._references
    assert kept.keys() == others.keys() == {("file", str(files.secret))}
    assert set(kept.values()).isdisjoint(others.values())


def test_a_reload_that_is_ended_midway_is_not_taken_for_done(files: Files) -> None:
    files.reading.settings()
    files.config.write_text(files.text.replace("10.0.0.0/8", "11.0.0.0/8"))
    files.reading.settings()
    files.config.write_text(files.text)

    def end_after(count: int) -> Callable[[], None]:
        calls = iter(range(count))

        def step() -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt

        return step

    with pytest.raises(KeyboardInterrupt):
        files.reading.settings(end_after(8))
    assert str(files.reading.settings().tables[0].routes[0]) == "10.0.0.0/8"


MANY = 2000


@pytest.fixture
def collector_waits() -> Iterator[None]:
    """Let the collector look at nothing before it is asked to, and then at what is made here, but not at pytest's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("freeze", "enable"):
            patch.setattr(gc, name, lambda: None)
        gc.disable()
        yield
    gc.enable()


@pytest.mark.usefixtures("collector_waits")
@pytest.mark.parametrize("is_served", [False, True], ids=["at the start", "in threads"])
@pytest.mark.parametrize(
    "last", ["right", "a mistake at the end", "no YAML at the end", "a secret that is gone"]
)
def test_nothing_of_a_long_configuration_is_kept_for_good(
    files: Files, last: str, is_served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there at the end of a reading is never looked at by the garbage collector (service_collector).

    So nothing of it may be in a cycle; or each reload would keep the configuration before.
    """
    monkeypatch.setattr(service_threads._state, "pool", None)
    if is_served:
        service_threads.begin()
    rows = ", ".join(f"{{dst: 10.{n >> 8}.{n & 255}.0/24, gateway: g}}" for n in range(MANY))
    text = files.text.replace("{dst: 10.0.0.0/8, gateway: g}", rows)
    end = {"a mistake at the end": "x: 1\n", "no YAML at the end": "x: [\n"}.get(last, "")
    kept = []
    for reload in range(3):
        gc.collect()
        files.config.write_text(f"{text}{end}# {reload}\n")
        if last == "a secret that is gone":
            files.secret.unlink(missing_ok=True)
        if last == "right":
            files.reading.settings()
        else:
            assert files.problems()
        kept.append(gc.collect())
    assert max(kept[1:]) < MANY / 4, "objects that only a collector finds"


def test_a_default_file_is_one_of_its_files(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """So `doctor` and a save by the web API find it as one that was named."""
    monkeypatch.setattr(
        "lib.config_read.default_files", lambda home: ["/nowhere/gost.yml", str(files.config)]
    )
    reading = cli_config.Rereading({**files.options, "-C": []})
    assert reading.settings().files == (str(files.config),)
    assert cli_config.settings({**files.options, "-C": []}).files == (str(files.config),)


@pytest.mark.parametrize("only", [False, True])
def test_what_is_no_file_is_none_of_its_files(
    files: Files, only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files.config.parent)
    named = ["hub.yml", '{"log": {"level": "warn"}}']
    reading = cli_config.Rereading({**files.options, "-C": named, "--only-tunnel": only})
    assert reading.settings().files == (str(files.config),)
