"""Requests to the web API that are refused before they are answered: by Host, by origin, by role."""

from __future__ import annotations

import base64

import pytest

from lib import api_auth, auth_admission
from lib.api_request import Refused, Who
from lib.settings_api import ADMIN, VIEWER, ApiSettings


@pytest.mark.parametrize(
    ("settings", "host", "local"),
    [
        (ApiSettings(host="127.0.0.1", port=1), "127.0.0.1:1", "127.0.0.1"),
        (ApiSettings(host="127.0.0.1", port=1), "LOCALHOST:8080", "127.0.0.1"),
        (ApiSettings(port=1), "192.0.2.1", "192.0.2.1"),
        (ApiSettings(port=1), "192.0.2.1:1", "::ffff:192.0.2.1"),
        (ApiSettings(port=1), "[2001:db8::1]:1", "2001:db8:0::1"),
        (ApiSettings(host="hub", port=1), "hub:1", "192.0.2.1"),
        (ApiSettings(port=1, hosts=("hub.example.com",)), "Hub.Example.com", "192.0.2.1"),
        (ApiSettings(socket="/x"), "anything", ""),
    ],
)
def test_a_host_header_that_names_this_server(settings: ApiSettings, host: str, local: str) -> None:
    api_auth.check_host(settings, host, local)


@pytest.mark.parametrize("host", ["evil.example", "192.0.2.2", "", "localhost", "hub.example.com.evil", "[x"])
def test_a_name_that_a_stranger_makes_lead_here_is_refused(host: str) -> None:
    """DNS rebinding: the browser sends the stranger's own name."""
    settings = ApiSettings(port=1, hosts=("hub.example.com",))
    with pytest.raises(Refused, match="Host header names") as raised:
        api_auth.check_host(settings, host, "192.0.2.1")
    assert raised.value.status == 403


@pytest.mark.parametrize(
    ("headers", "by_cookie"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://hub:1"}, True),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://HUB:1"}, True),
        ({"origin": "https://hub:1"}, True),
    ],
)
def test_a_change_that_our_own_page_or_no_page_asks_for(headers: dict[str, str], by_cookie: bool) -> None:
    api_auth.check_origin("POST", {"host": "hub:1", **headers}, "http", by_cookie)


@pytest.mark.parametrize(
    ("headers", "by_cookie"),
    [
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://hub:1"}, False),
        ({"origin": "http://evil"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://hub:1.evil"}, False),
        ({"origin": "http://[x"}, False),
        ({}, True),
    ],
)
def test_a_change_that_another_site_may_ask_for_is_refused(headers: dict[str, str], by_cookie: bool) -> None:
    with pytest.raises(Refused) as raised:
        api_auth.check_origin("DELETE", {"host": "hub:1", **headers}, "http", by_cookie)
    assert raised.value.status == 403
    api_auth.check_origin("GET", {"host": "hub:1", **headers}, "http", by_cookie)


@pytest.mark.parametrize(
    ("header", "login"),
    [
        (f"Basic {base64.b64encode('ü:p:q'.encode()).decode()}", ("ü", "p:q")),
        (f"basic {base64.b64encode(b'u').decode()}", ("u", "")),
        ("Bearer abc", ("", "")),
        ("Basic !!", ("", "")),
        ("", ("", "")),
    ],
)
def test_basic_auth(header: str, login: tuple[str, str]) -> None:
    assert auth_admission.basic(header) == login


def test_roles() -> None:
    api_auth.check_rights(Who("u", ADMIN), "PUT", frozenset({ADMIN}))
    with pytest.raises(Refused, match="the role viewer may only read: this is for admin"):
        api_auth.check_rights(Who("u", VIEWER), "PUT", frozenset({ADMIN}))
