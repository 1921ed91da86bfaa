"""What TensorBoard shows of a study, as pictures of its tabs by Debian's chromium, to be looked at.

    apt-get install chromium
    python -m benchmarks.screenshots runs/demo/compare shots        # shots/timeseries.png, hparams.png, …

It drives chromium by its DevTools protocol (https://chromedevtools.github.io/devtools-protocol), over aiohttp, which
Lightning brings along.
"""

import argparse
import asyncio
import base64
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

TABS = ("timeseries", "scalars", "custom_scalars", "hparams", "images", "text")
QUIET = 1.5  # seconds without a new request, after which a tab is drawn
PATIENCE = 60.0  # seconds for TensorBoard to begin, and for a tab to be drawn


@contextmanager
def tensorboard(logdir: Path) -> Iterator[str]:
    """A TensorBoard that has read the directory; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        asyncio.run(_until_read(address))
        yield address
    finally:
        process.terminate()
        process.wait()


async def _until_read(address: str) -> None:
    """Wait until it lists runs, and no more of them than a moment before."""
    before: list[str] = []
    for _ in range(int(PATIENCE)):
        await asyncio.sleep(1)
        try:
            with urllib.request.urlopen(f"{address}/data/runs") as reply:
                runs = json.load(reply)
        except OSError:
            continue
        if runs and runs == before:
            print(f"{len(runs)} runs: {', '.join(runs[:8])}{' …' if len(runs) > 8 else ''}")
            return
        before = runs
    raise SystemExit(f"{address}: TensorBoard found no run")


class Page:
    """A page of a browser, by the DevTools protocol.

    Args:
        socket: of the browser.
        session: that the page is attached by.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str | None = None) -> None:
        self.socket, self.session, self.ids = socket, session, itertools.count(1)

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method gives.

        Raises:
            RuntimeError: the browser refuses it.
        """
        message = {"id": next(self.ids), "method": method, "params": parameters}
        await self.socket.send_json({**message, **({"sessionId": self.session} if self.session else {})})
        while True:
            reply = await self.socket.receive_json(timeout=PATIENCE)
            if reply.get("id") == message["id"]:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']['message']}")
                return reply["result"]

    async def evaluate(self, expression: str) -> Any:
        """The value of a line of JavaScript."""
        reply = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return reply["result"].get("value")

    async def quiet(self) -> None:
        """Wait until it has asked for nothing for a while."""
        before, still = -1, 0.0
        for _ in range(int(PATIENCE / 0.25)):
            await asyncio.sleep(0.25)
            count = await self.evaluate("performance.getEntriesByType('resource').length")
            still = still + 0.25 if count == before else 0.0
            before = count
            if still >= QUIET and count:
                return


@contextmanager
def chromium() -> Iterator[str]:
    """A browser without a screen; the address of its DevTools."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--mute-audio"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        said = Path(profile) / "DevToolsActivePort"  # port and path, a line each
        try:
            for _ in range(int(PATIENCE / 0.1)):
                time.sleep(0.1)
                if said.exists() and len(lines := said.read_text().split()) == 2:
                    yield f"ws://127.0.0.1:{lines[0]}{lines[1]}"
                    return
            raise SystemExit("chromium did not begin; is it installed?")
        finally:
            process.terminate()
            process.wait()


async def take(browser: str, address: str, out: Path, tabs: list[str], size: tuple[int, int], query: str) -> None:
    """A PNG of each tab.

    Args:
        size: of the window, in pixels.
        query: of TensorBoard's address, such as runColorGroup=regex:(cat\\d).
    """
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(browser, max_msg_size=0, timeout=aiohttp.ClientWSTimeout(ws_close=5)) as socket,
    ):
        for tab in tabs:
            target = (await Page(socket).send("Target.createTarget", url="about:blank"))["targetId"]
            attached = await Page(socket).send("Target.attachToTarget", targetId=target, flatten=True)
            page = Page(socket, attached["sessionId"])
            page.ids = itertools.count(1000)
            width, height = size
            await page.send(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
            await page.send("Page.navigate", url=f"{address}/{f'?{query}' if query else ''}#{tab}")
            await page.quiet()
            picture = await page.send("Page.captureScreenshot", format="png")
            path = out / f"{tab}.png"
            path.write_bytes(base64.b64decode(picture["data"]))
            print(path)
            await Page(socket).send("Target.closeTarget", targetId=target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of TensorBoard's tabs.")
    parser.add_argument("logdir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tabs", nargs="+", default=list(TABS))
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--query", default="", help="of TensorBoard's address")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tensorboard(given.logdir) as address, chromium() as browser:
        asyncio.run(take(browser, address, given.out, given.tabs, tuple(given.size), given.query))


if __name__ == "__main__":
    main()
