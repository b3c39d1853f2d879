"""Admission: the order of the checks, and what each failure is answered with."""

from __future__ import annotations

import pytest

from lib.auth_admission import NO_CERTIFICATE, REFUSALS, Auther, Certificate, Login, admit, stays
from lib.auth_logins import EVERYTHING, Grant
from lib.ids import NO_NAMESPACE
from lib.wire_relay import Request, Status

LOGIN = ("user", "secret")


class Says:
    """An auther or an ingress that always says the same, or cannot say anything."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.allows = EVERYTHING
        self.asked: list[tuple[object, ...]] = []

    def admits(self, *what: object) -> bool:
        self.asked.append(what)
        if self.answer is None:
            raise OSError("auther-0: no answer")
        return self.answer

    def grant(self, login: Login) -> Grant | None:
        return self.allows if self.admits(login) else None


YES, NO, FAILS = True, False, None


@pytest.mark.parametrize(
    ("authers", "login", "status"),
    [
        pytest.param([], None, Status.OK, id="no auther: everybody"),
        pytest.param([YES], LOGIN, Status.OK, id="admitted"),
        pytest.param([NO], LOGIN, Status.UNAUTHORIZED, id="not admitted"),
        pytest.param([NO], None, Status.UNAUTHORIZED, id="no login given"),
        pytest.param([NO, YES], LOGIN, Status.OK, id="any of several"),
        pytest.param([FAILS], LOGIN, Status.SERVICE_UNAVAILABLE, id="nobody can say"),
        pytest.param([FAILS, YES], LOGIN, Status.OK, id="one fails, another admits"),
        pytest.param([FAILS, NO], LOGIN, Status.SERVICE_UNAVAILABLE, id="the one that fails might have"),
        pytest.param([NO, FAILS], LOGIN, Status.SERVICE_UNAVAILABLE, id="in either order"),
    ],
)
def test_logins(authers: list[bool | None], login: tuple[str, str] | None, status: Status) -> None:
    asked: tuple[Auther, ...] = tuple(map(Says, authers))
    got, why = admit(Request("host-1", login=login), "service-0", "192.0.2.1:1", asked)
    assert (got, bool(why)) == (status, status != Status.OK)


def test_an_auther_is_asked_with_everything_known() -> None:
    auther = Says(True)
    admit(Request("host-1", login=LOGIN), "service-0", "192.0.2.1:1", (auther,))
    admit(Request("host-1"), "service-0", "192.0.2.1:1", (auther,))
    nobody = Login("", "", "192.0.2.1:1", "service-0")
    assert auther.asked == [(Login(*LOGIN, "192.0.2.1:1", "service-0"),), (nobody,)]
    assert "secret" not in repr(auther.asked)


@pytest.mark.parametrize(
    ("ingress", "status"),
    [
        pytest.param(YES, Status.OK, id="may"),
        pytest.param(NO, Status.HOST_UNREACHABLE, id="may not"),
        pytest.param(FAILS, Status.SERVICE_UNAVAILABLE, id="nobody can say: not let in"),
    ],
)
def test_the_ingress(ingress: bool | None, status: Status) -> None:
    rules = Says(ingress)
    assert admit(Request("host-1"), "service-0", "192.0.2.1:1", (), rules)[0] == status
    assert rules.asked == [("host-1", NO_NAMESPACE, "service-0", "192.0.2.1:1", stays)]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(Request("host-1", command=1), Status.BAD_REQUEST, id="another command"),
        pytest.param(Request("host\n1"), Status.BAD_REQUEST, id="control characters in the name"),
    ],
)
def test_who_has_no_login_learns_nothing_else(request_: Request, status: Status) -> None:
    assert admit(request_, "service-0", "192.0.2.1:1", (Says(True),), Says(True))[0] == status
    assert admit(request_, "service-0", "192.0.2.1:1", (Says(False),), Says(True))[0] == Status.UNAUTHORIZED


def answer(request: Request, *grants: Grant, certificate: Certificate | None = None) -> tuple[Status, str]:
    authers = []
    for grant in grants:
        authers.append(Says(True))
        authers[-1].allows = grant
    bound = (certificate, True) if certificate is not None else (NO_CERTIFICATE, False)
    return admit(request, "service-0", "192.0.2.1:1", tuple(authers), None, *bound)


@pytest.mark.parametrize(
    ("grants", "host", "namespace", "status"),
    [
        ([Grant(("host-1",))], "host-1", NO_NAMESPACE, Status.OK),
        ([Grant(("host-1",))], "host-2", NO_NAMESPACE, Status.FORBIDDEN),
        ([Grant(("host-1",))], "", NO_NAMESPACE, Status.FORBIDDEN),
        ([Grant(("*.site-1", "x"))], "a.site-1", NO_NAMESPACE, Status.OK),
        ([Grant((".site-1",))], "site-1", NO_NAMESPACE, Status.OK),
        ([Grant((".site-1",))], "asite-1", NO_NAMESPACE, Status.FORBIDDEN),
        ([Grant((), (bytes(15) + b"1",))], "host-1", bytes(15) + b"1", Status.OK),
        ([Grant((), (bytes(15) + b"1",))], "host-1", NO_NAMESPACE, Status.FORBIDDEN),
        ([Grant(("host-1",)), Grant(("host-2",))], "host-2", NO_NAMESPACE, Status.OK),
    ],
)
def test_what_a_login_is_bound_to(grants: list[Grant], host: str, namespace: bytes, status: Status) -> None:
    assert answer(Request(host, namespace=namespace, login=LOGIN), *grants)[0] == status


@pytest.mark.parametrize(
    ("certificate", "status"),
    [
        (Certificate("host-1"), Status.OK),
        (Certificate("x", ("host-1", "y")), Status.OK),
        (Certificate("host-2", ("*.host-1",)), Status.FORBIDDEN),
        (NO_CERTIFICATE, Status.FORBIDDEN),
    ],
)
def test_a_name_that_a_certificate_has(certificate: Certificate, status: Status) -> None:
    assert answer(Request("host-1"), certificate=certificate)[0] == status


@pytest.mark.parametrize("host", ["*.corp", "a.corp", ".corp", "corp", "*"])
@pytest.mark.parametrize("certificate", [Certificate("*.corp"), Certificate("", ("*.corp", "*"))])
def test_a_wildcard_admits_nobody(host: str, certificate: Certificate) -> None:
    status, why = answer(Request(host), certificate=certificate)
    assert (status, why) == (Status.FORBIDDEN, "its certificate is for nobody")


def test_a_name_of_no_letters_is_nobody_s() -> None:
    assert answer(Request(""), certificate=Certificate(""))[0] == Status.FORBIDDEN


def test_every_refusal_is_counted_under_a_reason() -> None:
    assert set(REFUSALS) == {
        Status.BAD_REQUEST,
        Status.UNAUTHORIZED,
        Status.FORBIDDEN,
        Status.SERVICE_UNAVAILABLE,
        Status.HOST_UNREACHABLE,
        Status.NETWORK_UNREACHABLE,
    }
    assert len(set(REFUSALS.values())) == len(REFUSALS)
