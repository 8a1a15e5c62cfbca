"""A provider that does exactly what a test says, byte for byte, and notices when it is hung up on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Self

Answer = Callable[[asyncio.StreamWriter, "RawUpstream"], Awaitable[None]]
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


class RawUpstream:
    """`with RawUpstream(answer) as up:`; `answer` gets the writer once a request's head and body are in."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests = 0
        self.hung_up = threading.Event()
        self.go_on = threading.Event()

    def __enter__(self) -> Self:
        ready = threading.Event()

        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._stop.wait()
            server.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        self._thread.start()
        assert ready.wait(5)
        return self

    def __exit__(self, *error: object) -> None:
        self.go_on.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def wait(self) -> None:
        """Until the test says `go_on.set()`."""
        while not self.go_on.is_set():
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.requests += 1
        working = asyncio.ensure_future(self._answer(writer, self))
        gone = asyncio.ensure_future(reader.read())
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not working.done():
            self.hung_up.set()
        working.cancel()
        gone.cancel()
        writer.close()
