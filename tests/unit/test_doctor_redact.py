"""No secret gets into a bundle, in whatever form, wherever it stands."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given

from lib import config_resolve, doctor_redact
from lib.config_read import read, render
from tests.support import texts

MARK = "MaRk"
CONFIG = """
services:
- name: hub
  addr: :8443
  handler: {type: router, auther: a, metadata: {router: r, ingress: i}}
  listener: {type: wss, metadata: {header: {X-Key: MaRk-header-1}, path: /ws}}
- name: gone
  addr: :0
  handler: {type: tun, chain: c}
  forwarder: {nodes: [{name: t, addr: host-1}]}
  listener: {type: tun, metadata: {net: 10.0.0.1/24}}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - name: n
      addr: hub.example:8443
      connector: {type: router, auth: {username: alice, password: 'MaRk pass/+"1'}}
      dialer: {type: wss, metadata: {header: {Authorization: Bearer MaRk-header-2}}}
authers:
- name: a
  auths:
  - {username: alice, password: MaRk-login-1}
  - {username: bob, passwords: [MaRk-login-2, MaRk-login-3], hosts: [host-2]}
  redis: {addr: 'localhost:6379', password: MaRk-redis, key: logins}
ingresses:
- name: i
  plugin: {type: http, addr: 'http://user:MaRk-url@localhost:9000', token: MaRk-token}
routers:
- name: r
  http: {url: 'https://u:MaRk-in-url@example.com/routes?token=MaRk-query'}
"""


def test_a_configuration_keeps_what_is_harmless_and_no_secret() -> None:
    config = json.loads(render(read([("a.yml", CONFIG)]), "json"))
    text = json.dumps(doctor_redact.tree(config))
    assert MARK not in text
    for kept in (
        "alice",
        "hub.example:8443",
        "host-2",
        "/ws",
        "localhost:6379",
        "logins",
        "https://***@example.com",
    ):
        assert kept in text


def test_every_secret_of_the_settings_is_known() -> None:
    settings = config_resolve.resolve(read([("a.yml", CONFIG)]), lambda kind, name: "")
    known = set(doctor_redact.secrets(settings))
    text = doctor_redact.hide(CONFIG, known)
    assert MARK not in text.replace('MaRk pass/+"1', "***"), text
    assert 'MaRk pass/+"1' in known


def test_hooks_and_receivers_keep_their_secrets() -> None:
    text = (
        CONFIG.replace("addr: :8443\n", "addr: :8443\n  metadata: {preUp: [tell MaRk-hook]}\n", 1)
        + "notify: [{url: 'https://h/MaRk-path', headers: {A: MaRk-a}}, {command: tell MaRk-word, name: n}]"
    )
    read_one = read([("a.yml", text)])
    hidden = json.dumps(doctor_redact.tree(json.loads(render(read_one, "json"))))
    known = doctor_redact.secrets(config_resolve.resolve(read_one, lambda kind, name: ""))
    assert MARK not in doctor_redact.hide(hidden, known)
    assert MARK not in hidden, "by its key alone too: the web API shows it so"
    assert json.loads(hidden)["notify"][1]["name"] == "n"
    assert doctor_redact.tree({"notify": {"URL": "http://h/MaRk", "hosts": ["h"]}}) == {
        "notify": {"URL": "***", "hosts": ["h"]}
    }


SECRET = 'MaRk/a+b c"d\\e'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        json.dumps(SECRET),
        b64encode(f"alice:{SECRET}".encode()).decode(),
        b64encode(f"bo:{SECRET}".encode()).decode(),
        b64encode(f"x:{SECRET}".encode()).decode(),
        f"router://alice:{quote(SECRET, safe='')}@hub:8443",
    ],
)
def test_a_known_secret_is_hidden_in_every_form(form: str) -> None:
    hidden = doctor_redact.hide(f"before {form} after", [SECRET])
    assert "MaRk" not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    for before in range(3):
        inner = b64encode(b"\0" * before + SECRET.encode()).decode()
        assert inner[6:-6] not in hidden


@given(texts.from_json(20) | texts.from_bytes(20), texts.from_json(30), texts.from_json(30))
def test_any_secret_is_hidden_anywhere(secret: str, before: str, after: str) -> None:
    secret = f"{secret.replace('*', '')}-is"
    hidden = doctor_redact.hide(before + secret + after, [secret])
    assert secret not in hidden
    assert "***" in hidden
