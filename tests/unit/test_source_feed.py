"""What a table does when one of its sources gives something else than a table: real sockets, real files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gevent.server import StreamServer

from lib import log_setup
from lib.route_live import LiveRoutes
from lib.rule_live import LiveIngress, LiveLogins
from lib.settings import AutherSettings, IngressSettings, TableSettings
from lib.settings_sources import FileSource, HttpSource, SourceSettings
from lib.source_origin import Direct

UUID = "e87f56dd-fd57-4921-9ab8-a0847662daae"
HEAD = b"HTTP/1.1 200 OK\r\n"
ROUTES = b"10.1.0.0/16 host-1\n10.2.0.0/16 host-2\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
Live = LiveRoutes | LiveLogins | LiveIngress


def reply(body: bytes, more: bytes = b"") -> bytes:
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Web:
    """An HTTP server that says the bytes it was told to, then closes."""

    def __init__(self) -> None:
        self.says = b""
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/rows"

    def _serve(self, sock: object, _: object) -> None:
        sock.recv(65536)  # type: ignore[attr-defined]
        sock.sendall(self.says)  # type: ignore[attr-defined]

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.stop()


@pytest.fixture
def watch() -> Iterator[Direct]:
    watching = Direct()
    yield watching
    watching.stop()
    log_setup.finish()  # what is still being counted would be told in another test


def routes(source: FileSource | HttpSource, watch: Direct) -> LiveRoutes:
    return LiveRoutes(TableSettings("r", more=SourceSettings((source,))), watch)


def logins(source: FileSource | HttpSource, watch: Direct) -> LiveLogins:
    return LiveLogins(AutherSettings("a", more=SourceSettings((source,))), watch, lambda: None)


def ingress(source: FileSource | HttpSource, watch: Direct) -> LiveIngress:
    return LiveIngress(IngressSettings("i", more=SourceSettings((source,))), watch, lambda: None)


def read(live: Live) -> tuple[int, str]:
    """(rows in use, why the source has failed) after another reading."""
    if live.feed.loaded:
        live.feed.refresh()
    else:
        live.feed.start()
    assert live.feed.wait(10)
    ((_, state),) = live.feed.states()
    return live.total, state.error


LIES = {
    "an HTML page": (reply(b"<!doctype html>\n<h1>Log in</h1>\n", b"Content-Type: text/html\r\n"), "an HTML page"),
    "JSON": (reply(b'{"error":"no such tenant"}'), "JSON"),
    "a redirect to a login page": (HEAD.replace(b"200", b"302") + b"Location: /login\r\n\r\n", "status 302"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "status 204"),
    "compressed, unsaid": (reply(gzip.compress(ROUTES)), "compressed"),
    "an encoding that nobody asked for": (reply(ROUTES, b"Content-Encoding: br\r\n"), "'br' is not supported"),
    "gzip that is cut": (reply(gzip.compress(ROUTES * 99)[:-20], b"Content-Encoding: gzip\r\n"), "text is cut"),
    "a body that is cut": (HEAD + b"Content-Length: 99\r\n\r\n" + ROUTES[:30], "IncompleteRead"),
    "chunks cut before the first one": (CHUNKED, "IncompleteRead"),
    "chunks cut in a chunk": (CHUNKED + chunk(ROUTES)[:-9], "IncompleteRead"),
    "chunks cut between two": (CHUNKED + chunk(ROUTES), "IncompleteRead"),
    "chunks cut in the size of one": (CHUNKED + chunk(ROUTES) + b"0", "IncompleteRead"),
    "chunks cut before the trailers": (CHUNKED + b"0\r\n", "IncompleteRead"),
    "chunks cut in the trailers": (CHUNKED + chunk(ROUTES) + b"0\r\nX-Sum: 7", "IncompleteRead"),
    "chunks cut after the trailers": (CHUNKED + chunk(ROUTES) + b"0\r\nX-Sum: 7\r\n", "IncompleteRead"),
    "a size that is none": (CHUNKED + b"1_0\r\n" + ROUTES, "not the size of a chunk"),
    "a length that is none": (HEAD + b"Content-Length: many\r\n\r\n" + ROUTES, "not a Content-Length"),
    "two lengths": (HEAD + b"Content-Length: 3, 4\r\n\r\n" + ROUTES, "Content-Length"),
    "gzip as a transfer coding": (
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + ROUTES,
        "'gzip, chunked' is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("made", [routes, logins])
def test_a_reply_that_is_no_table_changes_nothing(
    web: Web, watch: Direct, lie: str, made: Callable[[HttpSource, Direct], Live]
) -> None:
    live = made(HttpSource(web.url, 5.0), watch)
    web.says = reply(ROUTES)
    assert read(live) == (2, "")
    web.says, why = LIES[lie]
    rows, error = read(live)
    assert (rows, why in error) == (2, True), error
    web.says = reply(b"10.3.0.0/16 host-3\n")
    assert read(live) == (1, "")
    live.stop()


TRUTHS = {
    "chunks": CHUNKED + chunk(ROUTES[:9]) + chunk(ROUTES[9:]) + b"0\r\n\r\n",
    "chunks with extensions and trailers": CHUNKED + b"26;a=b\r\n" + ROUTES + b"\r\n0;c\r\nX-Sum: 7\r\n\r\n",
    "gzip": reply(gzip.compress(ROUTES), b"Content-Encoding: gzip\r\n"),
    "two gzip texts": reply(
        gzip.compress(ROUTES[:19]) + gzip.compress(ROUTES[19:]), b"Content-Encoding: x-gzip\r\n"
    ),
    "deflate": reply(zlib.compress(ROUTES), b"Content-Encoding: deflate\r\n"),
    "no length": HEAD + b"\r\n" + ROUTES,
    "a length said twice": HEAD + b"Content-Length: 38\r\nContent-Length: 38\r\n\r\n" + ROUTES,
    "a web page that is a table": reply(ROUTES, b"Content-Type: text/html\r\n"),
    "UTF-16": reply(ROUTES.decode().encode("utf-16")),
    "a byte order mark and CRLF": reply(b"\xef\xbb\xbf" + ROUTES.replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_reply_that_is_a_table_in_another_dress(web: Web, watch: Direct, truth: str) -> None:
    live = routes(HttpSource(web.url, 5.0), watch)
    web.says = TRUTHS[truth]
    assert read(live) == (2, "")
    live.stop()


NOT_ROUTES = {
    "an empty body": (b"", "no rows any more"),
    "only comments": (b"# routes\n\n", "no rows any more"),
    "commas": (b"10.1.0.0/16,host-1\n10.2.0.0/16,host-2\n", "line 1: a route without a gateway"),
    "UTF-16 without a mark that is cut": (ROUTES.decode().encode("utf-16-le")[:-1], "truncated"),
    "another table": (b"# logins\nuser password\n", "line 2: not an address"),
}


@pytest.mark.parametrize("what", NOT_ROUTES)
@pytest.mark.parametrize("from_file", [False, True])
def test_a_source_of_routes_without_a_route_keeps_the_last_ones(
    web: Web, watch: Direct, tmp_path: Path, what: str, from_file: bool
) -> None:
    path = tmp_path / "routes"

    def say(text: bytes) -> None:
        web.says = reply(text)
        path.write_bytes(text)

    live = routes(FileSource(str(path)) if from_file else HttpSource(web.url, 5.0), watch)
    text, why = NOT_ROUTES[what]
    say(ROUTES)
    assert read(live) == (2, "")
    say(text)
    rows, error = read(live)
    assert (rows, why in error) == (2, True), error
    assert read(live) == (2, error), "no different the next time"
    say(b"# tunrouter: empty\n")
    assert read(live) == (0, ""), "that is how it is meant"
    say(b"")
    assert read(live) == (0, ""), "there is nothing to lose"
    live.stop()


def test_the_mark_of_an_empty_table_excuses_no_bad_line(watch: Direct, tmp_path: Path) -> None:
    path = tmp_path / "routes"
    live = routes(FileSource(str(path)), watch)
    path.write_bytes(b"# tunrouter: empty\n" + ROUTES)
    assert read(live) == (2, ""), "rows are rows"
    path.write_bytes(b"# tunrouter: empty\n10.1.0.0/16,host-1\n")
    assert read(live)[0] == 2
    live.stop()


def test_a_first_reading_that_is_no_table_is_a_failure_too(watch: Direct, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("<html>")
    for live in (made(FileSource(str(path)), watch) for made in (routes, logins, ingress)):
        rows, error = read(live)
        assert (rows, error) == (0, f"{path}: it is an HTML page, not a table")
        live.stop()


@pytest.mark.parametrize("text", ["", "\n", "# nobody\n"])
def test_a_file_of_logins_or_rules_without_a_row_denies_everybody(
    watch: Direct, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "rows"
    for live in (made(FileSource(str(path)), watch) for made in (logins, ingress)):
        path.write_text(f"host-1 {UUID}\n")
        assert read(live) == (1, "")
        path.write_text(text)
        assert read(live) == (0, "")
        path.write_text(f"host-1 {UUID}\n")
        assert read(live) == (1, "")
        path.unlink()
        assert read(live) == (1, f"{path}: No such file or directory")
        live.stop()


def test_an_empty_reply_denies_everybody_only_where_it_says_that_it_is_whole(web: Web, watch: Direct) -> None:
    live = logins(HttpSource(web.url, 5.0), watch)
    web.says = reply(b"user password\n")
    assert read(live) == (1, "")
    web.says = HEAD + b"\r\n"
    rows, error = read(live)
    assert (rows, "no Content-Length" in error) == (1, True)
    web.says = CHUNKED + b"0\r\n\r\n"
    assert read(live) == (0, "")
    live.stop()


def test_rules_and_logins_that_cannot_be_read_change_nothing(watch: Direct, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    live = ingress(FileSource(str(path)), watch)
    path.write_text(f"host-1 {UUID}\n")
    assert read(live) == (1, "")
    path.write_text("host-1,not-a-uuid\n")
    rows, error = read(live)
    assert (rows, "not `hostname endpoint`" in error) == (1, True)
    live.stop()
    live_logins = logins(FileSource(str(path)), watch)
    path.write_text("user password\n")
    assert read(live_logins) == (1, "")
    path.write_bytes(b"user\0 pass\0word\n")
    assert read(live_logins)[0] == 1
    live_logins.stop()


def test_a_source_that_stays_keeps_its_state_over_a_reload(watch: Direct, tmp_path: Path) -> None:
    path, other = tmp_path / "rows", tmp_path / "others"
    path.write_bytes(ROUTES)
    other.write_text("10.9.0.0/16 host-9\n")
    live = routes(FileSource(str(path)), watch)
    assert read(live) == (2, "")
    path.write_text("")
    assert read(live)[0] == 2
    sources = SourceSettings((FileSource(str(path)), FileSource(str(other))))
    live.apply(TableSettings("r", more=sources))
    (_, first), (_, second) = live.feed.states()
    assert (live.total, bool(first.read_at), bool(first.error), second.error) == (3, True, True, "")
    live.apply(TableSettings("r", more=SourceSettings((FileSource(str(other)),))))
    assert live.total == 1, "rows go with their source"
    live.stop()
