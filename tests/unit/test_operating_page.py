"""The recipes for Docker and Ansible in packaging/docs/operating.md, where neither is installed.

tests/e2e/test_operating.py runs the commands that they name. Here is what only Docker, compose and Ansible
would read: instructions, keys and modules that exist, and files, volumes, handlers and users that are there.
"""

from __future__ import annotations

import json
import re
from typing import Any

import docopt
import pytest
import yaml

from lib.cli_usage import USAGE
from tests.support.netns import ROOT
from tests.support.page import DOCS, blocks

PLACES = ("container", "ansible")
FILES = {block.name: block.text for block in blocks(DOCS / "operating.md") if block.place in PLACES}
PACKAGING = ROOT / "packaging"
UNIT = (PACKAGING / "systemd" / "tunrouter.service").read_text()
DURATION = re.compile(r"(\d+h)?(\d+m)?(\d+s)?")
MODE = re.compile(r"0[0-7]{3}")


def parses(words: list[str]) -> bool:
    """Whether our command line takes these words."""
    try:
        docopt.docopt(USAGE, words, default_help=False)
    except docopt.DocoptExit:
        return False
    return True


def test_a_command_line_that_is_wrong_does_not_parse() -> None:
    assert parses(["health"])
    assert not parses(["healthy"])
    assert not parses(["check", "--configuration", "x"])


# --- the Dockerfile


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in FILES["Dockerfile"].splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_dockerfile_has_instructions_that_exist_and_begins_with_its_base() -> None:
    words = [word for word, _ in instructions()]
    assert words[0] == "FROM"
    assert set(words) == {"FROM", "COPY", "ENTRYPOINT", "HEALTHCHECK"}
    assert len(words) == len(set(words)), "the last one of each would win"


def test_the_image_starts_the_executable_that_is_copied_into_it() -> None:
    found = dict(instructions())
    source, target = found["COPY"].split()
    entry = json.loads(
        found["ENTRYPOINT"]
    )  # a JSON list: otherwise a shell is process 1 and gets the signals
    assert target == f"/usr/local/bin/{entry[0]}"
    assert f"build/dist/{source}" in (PACKAGING / "BUILDING.md").read_text()


def test_the_health_check_is_one_of_docker_s_with_a_command_of_ours() -> None:
    flags, _, command = dict(instructions())["HEALTHCHECK"].partition(" CMD ")
    durations = dict(flag.removeprefix("--").split("=") for flag in flags.split())
    assert set(durations) <= {"interval", "timeout", "start-period", "start-interval"}
    assert all(DURATION.fullmatch(value) for value in durations.values())
    program, *words = json.loads(command)
    assert program == json.loads(dict(instructions())["ENTRYPOINT"])[0]
    assert parses(words)


# --- compose

SERVICE = {
    *("build", "command", "volumes", "ports", "cap_drop", "cap_add", "devices", "depends_on", "restart"),
    *("stop_grace_period",),
}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(FILES["compose.yaml"])
    return made


@pytest.mark.parametrize("name", compose()["services"])
def test_a_service_of_the_compose_file_names_only_what_is_there(name: str) -> None:
    whole = compose()
    service = whole["services"][name]
    assert set(whole) == {"services", "volumes"}
    assert set(service) <= SERVICE
    assert service["build"] == ".", "the Dockerfile beside it"
    assert parses(service["command"])
    targets = set()
    for volume in service["volumes"]:
        source, target, *options = volume.split(":")
        targets.add(target)
        assert options in ([], ["ro"])
        if source.startswith("./"):
            assert source.removeprefix("./") in FILES
        else:
            assert source in whole["volumes"]
    assert set(service["command"][1::2]) <= targets, "-C names a file that is mounted"
    for other, how in service.get("depends_on", {}).items():
        assert other in whole["services"]
        assert how["condition"] in CONDITIONS
    assert DURATION.fullmatch(service.get("stop_grace_period", "10s"))
    assert service["restart"] in {"no", "always", "on-failure", "unless-stopped"}


def test_ports_and_names_of_the_compose_file_are_those_of_the_configurations() -> None:
    services = compose()["services"]
    hub, client = yaml.safe_load(FILES["hub.yml"]), yaml.safe_load(FILES["host-1.yml"])
    port = hub["services"][0]["addr"].removeprefix(":")
    assert services["hub"]["ports"] == [f"{port}:{port}"]
    assert client["chains"][0]["hops"][0]["nodes"][0]["addr"] == f"hub:{port}", "compose's name for the hub"
    assert services["hub"]["cap_drop"] == services["host-1"]["cap_drop"] == ["ALL"]


# --- Ansible

MODULES = {
    "copy": {"src", "dest", "mode", "content", "owner", "group"},
    "apt": {"deb"},
    "template": {"src", "dest", "owner", "group", "mode", "validate"},
    "systemd_service": {"name", "enabled", "state"},
    "meta": None,
    "command": None,
}
"""Modules and, where they take named arguments, those of them that we use (docs.ansible.com, 2.17)."""
TASK = {"name", "no_log", "notify", "changed_when", "register", "until", "retries", "delay"}
STATES = {"started", "stopped", "restarted", "reloaded"}


def play() -> dict[str, Any]:
    (made,) = yaml.safe_load(FILES["site.yml"])
    return dict(made)


def steps() -> list[tuple[dict[str, Any], str, Any]]:
    """(task, its module, the module's arguments) of all tasks and handlers."""
    found = []
    for task in [*play()["tasks"], *play()["handlers"]]:
        (module,) = [key for key in task if key not in TASK]
        found.append((task, module.removeprefix("ansible.builtin."), task[module]))
        assert module.startswith("ansible.builtin."), module
    return found


def test_the_play_has_modules_and_arguments_that_exist() -> None:
    assert set(play()) == {"hosts", "become", "tasks", "handlers"}
    for task, module, arguments in steps():
        known = MODULES[module]
        assert task["name"]
        assert known is None or set(arguments) <= known, task["name"]
        if known is not None and "mode" in arguments:
            assert MODE.fullmatch(arguments["mode"]), "a number would be read in base ten"
        assert module != "systemd_service" or arguments["state"] in STATES


def test_the_play_notifies_handlers_and_copies_files_that_are_there() -> None:
    handlers = {handler["name"] for handler in play()["handlers"]}
    registered = {task["register"] for task, *_ in steps() if "register" in task}
    made = {"tunrouter.deb", *FILES}  # the package is renamed from what `make deb` makes
    for task, _, arguments in steps():
        assert task.get("notify") is None or task["notify"] in handlers
        assert "until" not in task or task["until"].split(".")[0] in registered
        if isinstance(arguments, dict):
            assert arguments.get("src") is None or arguments["src"] in made
    copied = {arguments["dest"] for _, module, arguments in steps() if module == "copy"}
    assert {arguments["deb"] for _, module, arguments in steps() if module == "apt"} <= copied


def test_the_play_agrees_with_the_package() -> None:
    """The configuration is where the unit reads it, for the unit's group, and the unit can be reloaded."""
    of = {module: arguments for _, module, arguments in steps()}
    written = of["template"]
    assert f"-C {written['dest']} " in UNIT
    assert f"Group={written['group']}\n" in UNIT
    assert f"tunrouter/{written['dest'].rpartition('/')[2]}" in (PACKAGING / "deb" / "build.sh").read_text()
    assert f"{of['systemd_service']['name']}.service" == "tunrouter.service"
    assert "ExecReload=" in UNIT
    program, *check = written["validate"].split()
    assert program == of["command"].split()[0] == "tunrouter"
    assert check.count("%s") == 1
    assert parses(check)
    assert parses(of["command"].split()[1:])


def test_the_template_s_values_are_ansible_s_or_named_like_ours() -> None:
    names = set(re.findall(r"\{\{ *(\w+) *\}\}", FILES["tunrouter.yaml.j2"] + FILES["site.yml"]))
    assert "inventory_hostname" in names
    assert all(name.startswith("tunrouter_") for name in names - {"inventory_hostname"})
    password = re.search(r"\$\{file:([^}]*)\}", FILES["tunrouter.yaml.j2"])
    assert password
    assert password[1] in {arguments.get("dest") for _, module, arguments in steps() if module == "copy"}, (
        "the file that it refers to is written before"
    )
