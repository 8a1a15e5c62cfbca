"""A real Chromium, driven over its debugging pipe: open a page, run script in it, take its picture."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of one Chromium."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._waiting = b""
        self._number = 0
        self._session: str | None = None

    async def open(self, url: str, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        """Go to a URL in a new page and wait until it is loaded."""
        target = await self._ask("Target.createTarget", url="about:blank", width=width, height=height, newWindow=True)
        attached = await self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._ask("Emulation.setEmulatedMedia", features=[scheme])
        await self._ask("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url[:8])})")

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; raises AssertionError with what it threw."""
        answer = await self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, condition: str, seconds: float = 10) -> None:
        """Wait until a JavaScript expression is true."""
        with anyio.move_on_after(seconds):
            while not await self.run(f"Boolean({condition})"):
                await anyio.sleep(0.1)
            return
        raise AssertionError(f"not within {seconds} s: {condition}\n{await self.run('document.body.innerText')}")

    async def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        answer = await self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        await anyio.to_thread.run_sync(os.write, self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(await self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    async def _message(self) -> bytes:
        while b"\0" not in self._waiting:
            more = await anyio.to_thread.run_sync(os.read, self._from, 1 << 20)
            assert more, "the browser has gone"
            self._waiting += more
        message, _, self._waiting = self._waiting.partition(b"\0")
        return message


@asynccontextmanager
async def browser(home: Path) -> AsyncIterator[Browser]:
    """A Chromium with a profile of its own under `home`; gone afterwards."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = f'exec chromium "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = await anyio.open_process(
        ["bash", "-c", command, "chromium", *FLAGS, f"--user-data-dir={home / 'profile'}"],
        pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        with anyio.CancelScope(shield=True):
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await process.aclose()
        os.close(ours_out)
        os.close(ours_in)
