"""A headless Chromium under our control, by the DevTools protocol over its own pipes: no package is needed for it.

Knows: how it is started and asked, what it tells of its own accord (console, requests, traces).
Refuses to know: what a page shows.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
NO_CHROMIUM = "no chromium in PATH"

_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--mute-audio", "--no-proxy-server", "--ignore-certificate-errors", "about:blank",
)  # fmt: skip


class Chromium:
    """One browser; `ask` sends a command and waits for its reply."""

    def __init__(self, profile: Path, before: tuple[str, ...] = ()) -> None:
        """Start it. `before` is a program that starts it, such as `ip netns exec NAME`."""
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_read, theirs_write)]  # 3 and 4 stay free
        for fd in (theirs_read, theirs_write):
            os.close(fd)
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        script = f'exec "$0" "$@" 3<&{high[0]} 4>&{high[1]}'
        argv = [*before, "bash", "-c", script, CHROMIUM, *root, f"--user-data-dir={profile}", *_FLAGS]
        self.log = (profile.parent / "chromium.log").open("wb")
        self.process = subprocess.Popen(argv, pass_fds=high, stdout=self.log, stderr=self.log)
        for fd in high:
            os.close(fd)
        self._write = os.fdopen(ours_write, "wb", buffering=0)
        self._read = os.fdopen(ours_read, "rb")
        self._replies: dict[int, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._number = 0
        self._told: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        kept = b""
        while part := self._read.raw.read(1 << 16):
            *messages, kept = (kept + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    with self._news:
                        self._replies[message["id"]] = message
                        self._news.notify_all()
                elif told := self._told.get(message.get("sessionId", "")):
                    told(message["method"], message["params"])
        with self._news:
            self._ended = True
            self._news.notify_all()

    def ask(self, method: str, session: str = "", seconds: float = 30.0, **parameters: Any) -> dict[str, Any]:
        """Send a command, return its result. Raises AssertionError where the browser refuses it or is silent."""
        with self._news:
            self._number += 1
            number = self._number
            command = {
                "id": number,
                "method": method,
                "params": parameters,
                **({"sessionId": session} if session else {}),
            }
            self._write.write(json.dumps(command).encode() + b"\0")
            assert self._news.wait_for(lambda: number in self._replies or self._ended, seconds), (
                f"{method}: no reply"
            )
            reply = self._replies.pop(number, {"error": "chromium has ended"})
        assert "error" not in reply, f"{method}: {reply['error']}"
        result: dict[str, Any] = reply["result"]
        return result

    def open(self, url: str, width: int = 1440, height: int = 900, dark: bool = False) -> Tab:
        """A new tab, with cookies of its own, at an address."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target, context)
        self._told[session] = tab.hear
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.ask(f"{domain}.enable")
        tab.size(width, height)
        tab.theme(dark)
        tab.go(url)
        return tab

    def close(self) -> None:
        """End the browser."""
        try:
            self.ask("Browser.close", seconds=5)
            self.process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self._write.close()
        self.log.close()


class Tab:
    """One tab: what it shows, and what it has told."""

    def __init__(self, browser: Chromium, session: str, target: str, context: str) -> None:
        self._browser, self._session, self._target, self._context = browser, session, target, context
        self.errors: list[str] = []
        """Lines of its console that are errors or warnings, and exceptions."""
        self.requests: list[str] = []
        """Every address that it asked for."""
        self.received = 0
        """Bytes of all replies as they came, headers included."""
        self._trace: list[dict[str, Any]] = []
        self._traced = threading.Event()

    def ask(self, method: str, seconds: float = 30.0, **parameters: Any) -> dict[str, Any]:
        """Send a command to this tab."""
        return self._browser.ask(method, self._session, seconds, **parameters)

    def hear(self, method: str, told: dict[str, Any]) -> None:
        """Take what the browser tells of its own accord."""
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Network.dataReceived":
            self.received += told["encodedDataLength"]
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(f"{details['text']} {details.get('exception', {}).get('description', '')}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(
                " ".join(str(one.get("value", one.get("description"))) for one in told["args"])
            )
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Tracing.dataCollected":
            self._trace += told["value"]
        elif method == "Tracing.tracingComplete":
            self._traced.set()

    def go(self, url: str) -> None:
        """Go to an address."""
        assert "errorText" not in (found := self.ask("Page.navigate", url=url)), found

    def size(self, width: int, height: int) -> None:
        """Give the page another size, as a phone or a monitor has it."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )

    def theme(self, dark: bool) -> None:
        """Prefer dark or light."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=features)
        # a colour that is on its way to another one has too little contrast, and none of these colours is the page's
        self.run("Promise.allSettled(document.getAnimations().map((one) => one.finished)).then(() => true)")

    def run(self, script: str, seconds: float = 30.0) -> Any:
        """The value of an expression; a promise is awaited. Raises AssertionError where it throws."""
        found = self.ask(
            "Runtime.evaluate",
            seconds,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 15.0) -> Any:
        """Wait until an expression is true; returns its value. An error of it counts as not yet."""
        until = time.monotonic() + seconds
        while True:
            found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
            result = found["result"] if "exceptionDetails" not in found else {}
            if result.get("value") or (result.get("type") == "object" and result.get("subtype") != "null"):
                return result.get("value")  # an element is {} here
            assert time.monotonic() < until, f"{script} did not become true; {self.errors}\n{self.text()}"
            time.sleep(0.03)

    def text(self) -> str:
        """What the page says."""
        return str(self.run("document.body?.innerText ?? ''"))

    def says(self, words: str, seconds: float = 15.0) -> None:
        """Wait until the page says something."""
        self.wait(f"document.body.innerText.includes({json.dumps(words)})", seconds)

    def click(self, selector: str, words: str = "") -> None:
        """Click the first element of a selector that has these words, when there is one."""
        find = f"[...document.querySelectorAll({json.dumps(selector)})].find((one) => one.textContent.includes({json.dumps(words)}))"
        self.wait(f"Boolean({find})")
        self.run(f"{find}.click()")

    def type(self, selector: str, text: str) -> None:
        """Put the focus on a field, and type."""
        chosen = json.dumps(selector)
        self.wait(f"Boolean(document.querySelector({chosen}))")
        self.run(f"(() => {{ const one = document.querySelector({chosen}); one.focus(); one.select(); }})()")
        self.ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, by its DOM name."""
        codes = {
            "Tab": 9,
            "Enter": 13,
            "Escape": 27,
            "PageDown": 34,
            "End": 35,
            "Home": 36,
            "ArrowUp": 38,
            "ArrowDown": 40,
        }
        more: dict[str, Any] = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **more,
            )

    def picture(self, path: Path) -> None:
        """Keep a picture of what is in sight."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def tasks(self, script: str) -> list[dict[str, Any]]:
        """The main thread's tasks (the browser's trace events) while a script runs."""
        self._trace, self._traced = [], threading.Event()
        self.ask(
            "Tracing.start",
            traceConfig={
                "includedCategories": [
                    "toplevel",
                    "devtools.timeline",
                    "disabled-by-default-devtools.timeline",
                ]
            },
        )
        self.run(script, 60)
        self.ask("Tracing.end")
        assert self._traced.wait(30), "the trace did not come"
        return self._trace

    def close(self) -> None:
        """Close the tab, and forget its cookies."""
        self._browser.ask("Target.closeTarget", targetId=self._target)
        self._browser.ask("Target.disposeBrowserContext", browserContextId=self._context)
