"""`POST /config`: the file of the configuration is saved whole, with its comments; other files stay what they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import api_save, config_from_urls, config_read, service_files
from lib.api_request import INVALID
from tests.support.api import Api, process

TEXT = """\
# what this hub does
services:
  # the only one
  - {name: s, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}
routers:
  - name: r  # everybody's
    routes:
      # the office
      - {dst: 10.0.0.0/8, gateway: g}
  # spare
  - {name: x, routes: [{dst: 10.9.0.0/16, gateway: h}], holdDown: 5s}
authers:
  - {name: a, auths: [{username: u, password: "${env:S3}"}, {username: v, password: s3cret}]}
# for us
api: {addr: 'unix:///tmp/e-PORT.sock', auth: {username: admin, password: p}}
"""
LOGIN = "admin:p"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gost.yml"


@pytest.fixture
def api(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("S3", "s3cret-0")
    with process(file, TEXT) as made:
        file.chmod(0o640)
        yield made


def save(api: Api, query: str = "", status: int = 200) -> str:
    answer = api.ask("POST", f"/config{query}", login=LOGIN)
    assert answer.status == status, answer.body
    return str(answer.json["msg"])


def test_only_what_has_changed_is_written_anew(api: Api, file: Path) -> None:
    before = file.read_text()
    assert save(api) == "OK"
    assert file.read_text() == before
    body = {"routes": [{"dst": "10.8.0.0/16", "gateway": "h"}], "reload": 90 * 10**9}
    assert api.ask("PUT", "/config/routers/x", body, login=LOGIN).status == 200
    assert api.ask("POST", "/config/limiters", {"name": "l", "limits": ["$ 1MB"]}, login=LOGIN).status == 200
    assert save(api) == "OK"
    made = file.read_text()
    spare = before[before.index("  # spare") : before.index("authers:")]
    anew = "  - name: x\n    reload: 1m30s\n    routes:\n      - dst: 10.8.0.0/16\n        gateway: h\n"
    assert made == before.replace(spare, anew) + "limiters:\n  - name: l\n    limits:\n      - $ 1MB\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert api.ask("POST", "/config/reload", login=LOGIN).status == 200
    assert [one.name for one in api.changes.config.limiters] == ["l"]


def test_a_second_save_keeps_the_comments_too(api: Api, file: Path) -> None:
    """After the first one the file has other objects than when it was read."""
    assert api.ask("DELETE", "/config/routers/x", login=LOGIN).status == 200
    save(api)
    assert api.ask("POST", "/config/limiters", {"name": "l"}, login=LOGIN).status == 200
    before = file.read_text()
    assert "spare" not in before
    save(api)
    assert file.read_text() == before + "limiters:\n  - name: l\n"
    body = {"routes": [{"dst": "10.8.0.0/16", "gateway": "h"}]}
    assert api.ask("PUT", "/config/routers/r", body, login=LOGIN).status == 200
    save(api)
    assert "# the only one" in file.read_text()
    assert "# for us" in file.read_text()
    assert api.ask("POST", "/config/reload", login=LOGIN).status == 200
    save(api)


def test_what_was_written_there_by_hand_is_not_lost(api: Api, file: Path) -> None:
    edited = file.read_text().replace("10.9.0.0/16", "10.7.0.0/16")
    assert api.ask("POST", "/config/limiters", {"name": "l"}, login=LOGIN).status == 200
    for text in (edited, "routers: [", ""):
        file.write_text(text)
        assert "has been changed since it was read" in save(api, "", 409)
        assert file.read_text() == text
    file.write_text(edited)
    assert api.ask("POST", "/config/reload", login=LOGIN).status == 200
    save(api)
    assert file.read_text() == edited
    file.write_text(file.read_text().replace("10.7.0.0/16", "10.6.0.0/16"))
    save(api, f"?path={file}")  # who names a file may overwrite it
    save(api)
    assert "10.7.0.0/16" in file.read_text()


def test_what_only_the_command_line_says_is_no_change_by_hand(tmp_path: Path) -> None:
    text = TEXT.replace('"${env:S3}"', "x") + "# quiet\nlog: {level: warn}\n"
    file = tmp_path / "gost.yml"
    with process(file, text, **{"-D": True, "--api": f"unix://admin:p@{tmp_path}/b.sock"}) as api:
        before = file.read_text()
        save(api)
        assert file.read_text() == before


def test_secrets_are_saved_as_they_were_written(api: Api, file: Path) -> None:
    auther = api.ask("GET", "/config/authers/a", login=LOGIN).json["data"]
    auther["auths"].append({"username": "w", "password": "new"})
    assert api.ask("PUT", "/config/authers/a", auther, login=LOGIN).status == 200
    save(api)
    assert "password: ${env:S3}" in file.read_text()
    assert "password: s3cret\n" in file.read_text()
    assert "***" not in file.read_text()
    assert "s3cret-0" not in file.read_text()


@pytest.mark.parametrize(("name", "query"), [("x.json", ""), ("x.yaml", ""), ("x.yml", "&format=json")])
def test_another_file(api: Api, file: Path, name: str, query: str) -> None:
    other = file.with_name(name)
    for _ in range(2):  # a configuration may be overwritten
        save(api, f"?path={other}{query}")
    read = config_read.read([(name, other.read_text())])
    assert config_read.plain(read) == config_read.plain(api.changes.config)
    assert other.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "asked", "other"),
    [("gost.yml", "json", "YAML"), ("gost.yaml", "json", "YAML"), ("g.json", "yaml", "JSON")],
)
def test_its_own_file_keeps_its_format(tmp_path: Path, name: str, asked: str, other: str) -> None:
    """GOST writes gost.json beside gost.yml; the file of the process would lose its comments."""
    text = "api: {addr: 'unix:///tmp/e-PORT.sock', auth: {username: admin, password: p}}\n"
    as_json = '{"api": {"addr": "unix:///tmp/e-PORT.sock", "auth": {"username": "admin", "password": "p"}}}'
    with process(tmp_path / name, as_json if other == "JSON" else f"# mine\n{text}") as api:
        before = (tmp_path / name).read_text()
        answer = api.ask("POST", f"/config?format={asked}", login=LOGIN)
        assert (answer.status, answer.json["code"]) == (400, INVALID)
        assert f"is a file of {other}" in answer.json["msg"]
        assert f"?path=FILE.{asked}" in answer.json["hint"]
        assert (tmp_path / name).read_text() == before
        save(api, f"?format={other.lower()}")
        save(api, f"?format={asked}&path={tmp_path}/other.{asked}")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "ReadWritePaths=FOLDER"),
        (errno.EACCES, "must be allowed to write in FOLDER"),
        (errno.EPERM, "must be allowed to write in FOLDER"),
        (errno.ENOSPC, None),
    ],
)
def test_who_cannot_save_here_is_told_what_to_do(
    api: Api, file: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str | None
) -> None:
    """Under the unit of the package /etc is read-only, and the file is root's."""

    def write(*values: object) -> None:
        raise OSError(number, os.strerror(number))

    before = file.read_text()
    monkeypatch.setattr(service_files, "write_whole", write)
    answer = api.ask("POST", "/config", login=LOGIN)
    assert (answer.status, answer.json["code"]) == (500, 40005)
    assert answer.json["msg"] == f"{file}: {os.strerror(number)}"
    told = answer.json.get("hint")
    assert told is None if hint is None else hint.replace("FOLDER", str(file.parent)) in told
    assert file.read_text() == before


def test_a_folder_that_is_nobody_s_to_write(api: Api) -> None:
    """Of a real kernel: not even root makes a file there."""
    answer = api.ask("POST", "/config?path=/sys/kernel/x.yml", login=LOGIN)
    assert (answer.status, answer.json["code"]) == (500, 40005)
    assert "/sys/kernel" in answer.json["hint"]


def test_what_is_no_configuration_is_not_overwritten(api: Api, file: Path) -> None:
    other = file.with_name("shadow.yaml")
    other.write_text("root:x:0:0\n")
    assert "is no configuration" in save(api, f"?path={other}", 500)
    assert api.ask("POST", f"/config?path={other}", login=LOGIN).json["code"] == 40005
    assert other.read_text() == "root:x:0:0\n"
    os.mkfifo(file.with_name("fifo.yml"))
    assert "no regular file" in save(api, f"?path={file.with_name('fifo.yml')}", 500)
    assert "does not end with .yaml" in save(api, f"?path={file.with_name('passwd')}", 400)
    assert "No such file" in save(api, f"?path={file.with_name('none')}/x.yml", 500)
    assert "format 'xml'" in save(api, "?format=xml", 400)
    assert "is no path" in save(api, "?path=%00.yaml", 400)


def test_without_a_login_only_its_own_file(tmp_path: Path) -> None:
    text = TEXT.replace(", auth: {username: admin, password: p}", "")
    with process(tmp_path / "gost.yml", text.replace('"${env:S3}"', "x")) as api:
        assert api.ask("POST", "/config").status == 200
        answer = api.ask("POST", f"/config?path={tmp_path}/y.yml")
        assert answer.status == 403
        assert "without a login" in answer.json["msg"]


def test_a_process_without_a_file_wants_a_path(tmp_path: Path) -> None:
    options = {"-L": ["router://127.0.0.1:0"], "-C": [], "--api": f"unix://admin:p@{tmp_path}/api.sock"}
    with process(tmp_path / "none.yml", "", **options) as api:
        assert "started with no file: say where to" in save(api, "", 500)
        assert api.ask("POST", "/config/limiters", {"name": "l"}, login=LOGIN).status == 200
        save(api, f"?path={tmp_path}/x.yml")
        assert (tmp_path / "x.yml").read_text() == "limiters:\n  - name: l\n"


def edited(text: str, changed: str) -> str:
    """A text with the changes that make the routers of another one of its own."""
    filed, other = (config_read.read([("f", one)]) for one in (text, changed))
    config = config_read.merge([filed])
    config.routers = other.routers
    return api_save.edited(text, filed, config)


@pytest.mark.parametrize(
    "text",
    [
        '{"routers": [{"name": "r"}], "user": "nobody"}',
        "routers: &all [{name: r}]\nuser: nobody\n",
        "user: nobody\nrouters:\n- &one\n  name: r\n- <<: *one\n  name: s\n",
    ],
)
def test_a_text_that_cannot_be_cut_is_written_anew(text: str) -> None:
    made = edited(text, "routers: [{name: t}]")
    read = config_read.read([("f", made)])
    assert ([one.name for one in read.routers], read.user, read.problems) == (["t"], "nobody", [])


def test_what_the_command_line_says_is_not_saved() -> None:
    flags = config_from_urls.read(["router://:1"], api="127.0.0.1:1", metrics="127.0.0.1:2")
    whole = config_read.merge([config_read.read([("f", "routers: [{name: r}]\n")]), flags])
    assert api_save.whole(whole, "yaml") == "routers:\n  - name: r\n"


@pytest.mark.parametrize("style", ["yaml", "json"])
def test_a_whole_configuration_is_laid_out_as_by_the_option_o(style: str) -> None:
    routes = "\n".join(f"  - {{dst: 10.0.{n}.0/24, gateway: 'gäte: {n}'}}" for n in range(200))
    config = config_read.read([("f", f"routers:\n- name: r\n  routes:\n{routes}\nuser: nobody\n")])
    steps: list[int] = []
    assert api_save.whole(config, style, lambda: steps.append(1)) == config_read.render(config, style)
    assert len(steps) > 20
