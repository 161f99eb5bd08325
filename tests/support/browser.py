"""Chromium without a window, over its DevTools protocol."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.programs import program

# As it calls itself with a window; without one it adds "Headless", by which machines are known.
AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0"
    " Safari/537.36"
)
STARTS_WITHIN_S = 60.0


class Page:
    """A tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last_id = 0

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """A command of the protocol. Events that come before its result are dropped."""
        self._last_id += 1
        await self._socket.send_json({"id": self._last_id, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("id") == self._last_id:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - a value of JavaScript
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until it is true in the page."""
        async with asyncio.timeout(STARTS_WITHIN_S):
            while not await self.evaluate(expression):
                await asyncio.sleep(0.05)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until(f"location.href == {url!r} && document.readyState == 'complete'")

    async def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first element."""
        box = await self.evaluate(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, **at)


@asynccontextmanager
async def chromium(folder: Path, addresses: Mapping[str, str]) -> AsyncIterator[Page]:
    """addresses: by host, `ip:port`. It accepts the certificates of test authorities."""
    rules = ", ".join(f"MAP {host} {address}" for host, address in addresses.items())
    log = folder / "chromium.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                program("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--ignore-certificate-errors", f"--user-agent={AGENT}", "--disable-dev-shm-usage",
                f"--user-data-dir={folder / 'chromium'}", "--remote-debugging-port=0",
                "--allow-file-access-from-files", f"--host-resolver-rules={rules}", "about:blank",
            ],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            url = await _page_url(session, folder / "chromium" / "DevToolsActivePort", process)
            async with session.ws_connect(url, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _page_url(
    session: aiohttp.ClientSession, file: Path, process: "subprocess.Popen[bytes]"
) -> str:
    async with asyncio.timeout(STARTS_WITHIN_S):
        while True:
            assert process.poll() is None, "chromium has ended"
            if file.exists() and (lines := file.read_text().split()):
                async with session.get(f"http://127.0.0.1:{lines[0]}/json/list") as response:
                    for one in await response.json():
                        if one["type"] == "page":
                            return str(one["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
