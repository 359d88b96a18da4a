"""A real headless Chromium, driven over the DevTools protocol: what it shows, complains of, and asks for."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
START_SECONDS = 60


class Tab:
    """One tab, and what happened in it since the last page was opened.

    Attributes:
        complaints: exceptions, console messages, what the page's policy refused, and dialogues.
        requests: addresses that something in the page asked for, by the browser's number.
        refused: those numbers of them that the page's policy stopped.
    """

    def __init__(self, connection: websocket.WebSocket) -> None:
        self.connection = connection
        self.sent = 0
        self.complaints: list[str] = []
        self.requests: dict[str, str] = {}
        self.refused: set[str] = set()
        self.loaded = ""
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what happens meanwhile is noted."""
        self.sent += 1
        self.connection.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while (message := json.loads(self.connection.recv())).get("id") != self.sent:
            self._note(message["method"], message["params"])
        assert "error" not in message, f"{method}: {message['error']}"
        return message["result"]

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Page.lifecycleEvent" and about["name"] == "load":
            self.loaded = about["loaderId"]
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(about["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{about['type']}: {about['args']}")
        elif event == "Log.entryAdded":
            self.complaints.append(about["entry"]["text"])
        elif event == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialogue: {about['message']}")
        elif event == "Network.requestWillBeSent":
            self.requests[about["requestId"]] = about["request"]["url"]
        elif event == "Network.loadingFailed" and about.get("blockedReason") == "csp":
            self.refused.add(about["requestId"])

    def open(self, path: Path, *, width: int = 1200, scheme: str = "light", script: bool = True) -> Tab:
        """Load a file in a window of this width, in light or dark mode, with or without JavaScript."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.media("screen", scheme)
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.complaints, self.requests, self.refused = [], {}, set()
        awaited = self.call("Page.navigate", url=path.as_uri())["loaderId"]
        while self.loaded != awaited:
            message = json.loads(self.connection.recv())
            self._note(message["method"], message["params"])
        return self

    def media(self, kind: str, scheme: str = "light") -> None:
        """Show the page on a screen or as printed."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=kind, features=[feature])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, as a person does."""
        for key in keys:
            named = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            text = {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **named)


@contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """A browser with one empty tab; its profile and its messages go to ``folder``."""
    assert CHROMIUM
    options = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--disable-dev-shm-usage"]
    options += ["--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--disable-gpu"]
    options += ["--no-sandbox"] if os.getuid() == 0 else []  # root has none
    with (folder / "messages").open("w") as messages:
        browser = subprocess.Popen([CHROMIUM, *options, "about:blank"], stdout=messages, stderr=messages)
    try:
        with closing(_connect(browser, folder)) as connection:
            yield Tab(connection)
    finally:
        browser.terminate()
        browser.wait(timeout=START_SECONDS)


def _connect(browser: subprocess.Popen[bytes], folder: Path) -> websocket.WebSocket:
    """To the tab, once the browser has said in a file where it listens; past any proxy."""
    port, until = folder / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while not (port.is_file() and port.read_text().count("\n")):
        assert browser.poll() is None, f"Chromium did not start: {(folder / 'messages').read_text()}"
        assert time.monotonic() < until, f"Chromium took too long: {(folder / 'messages').read_text()}"
        time.sleep(0.05)
    number = int(port.read_text().splitlines()[0])
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{number}/json/list") as answer:
        (page,) = (one for one in json.load(answer) if one["type"] == "page")
    line = socket.create_connection(("127.0.0.1", number), timeout=START_SECONDS)
    return websocket.create_connection(
        page["webSocketDebuggerUrl"], socket=line, suppress_origin=True, timeout=START_SECONDS
    )
