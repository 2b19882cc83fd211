#!/usr/bin/env python3
"""A thousand clients of which half behave badly, for as long as it takes: what the others get meanwhile, and the server's memory.

    bench/serving/crowd.py --url http://127.0.0.1:8080/score --pid PID --clients 1000 --requests 10000 PICTURE

Half of the clients post the picture again and again and read every answer. The others, in turns: connect and say nothing, send
half of the headers, promise more than they send and hang, promise it and break off, send half of the picture and break off, send the
whole request and leave without the answer. A client whose connection the server ends comes again. Prints one JSON object.
Standard library only.
"""
from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit


def resident(pid: int | None) -> int | None:
    """Bytes of a process's memory that are in RAM."""
    if pid is None:
        return None
    line = next(l for l in Path(f"/proc/{pid}/status").read_text().splitlines() if l.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


class Crowd:
    def __init__(self, url: str, body: bytes, requests: int):
        parts = urlsplit(url)
        self.host, self.port, self.path = parts.hostname, parts.port or 80, parts.path or "/"
        self.body, self.left = body, requests
        self.seconds: list[float] = []
        self.status: collections.Counter[str] = collections.Counter()
        self.bad = 0
        self.over = asyncio.Event()

    def head(self, length: int) -> bytes:
        return (f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: image/png\r\n"
                f"Content-Length: {length}\r\n\r\n").encode()

    async def open(self):
        return await asyncio.open_connection(self.host, self.port)

    async def answer(self, reader) -> int:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")), 0)
        await reader.readexactly(length)
        return int(head.split()[1])

    async def good(self):
        stream = None
        while self.left > 0:
            self.left -= 1
            begun = time.perf_counter()
            try:
                stream = stream or await self.open()
                stream[1].write(self.head(len(self.body)) + self.body)
                status = await self.answer(stream[0])
                self.status[str(status)] += 1
                if status == 200:
                    self.seconds.append(time.perf_counter() - begun)
                else:
                    await asyncio.sleep(0.2)
            except (OSError, asyncio.IncompleteReadError) as e:
                self.status[type(e).__name__] += 1
                stream = None
                await asyncio.sleep(0.2)
        if stream:
            stream[1].close()

    async def hang(self, sent: bytes):
        """Sends, and waits until the server has had enough."""
        reader, writer = await self.open()
        writer.write(sent)
        try:
            await asyncio.wait_for(asyncio.wait([asyncio.create_task(reader.read()), asyncio.create_task(self.over.wait())],
                                                return_when=asyncio.FIRST_COMPLETED), 120)
        finally:
            writer.close()

    async def leave(self, sent: bytes):
        _, writer = await self.open()
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()

    async def badly(self, number: int):
        n, half = len(self.body), self.body[: len(self.body) // 2]
        ways = [
            lambda: self.hang(b""),
            lambda: self.hang(self.head(n)[:30]),
            lambda: self.hang(self.head(n + 1000) + self.body),
            lambda: self.leave(self.head(n + 1000) + self.body),
            lambda: self.leave(self.head(n) + half),
            lambda: self.leave(self.head(n) + self.body),
        ]
        for way in itertools.islice(itertools.cycle(ways), number, None):
            if self.over.is_set():
                return
            self.bad += 1
            try:
                await way()
            except (OSError, asyncio.TimeoutError):
                pass
            await asyncio.sleep(0.5)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000, help="of those who behave")
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    crowd = Crowd(args.url, args.picture.read_bytes(), args.requests)
    before, peak = resident(args.pid), 0

    async def watch():
        nonlocal peak
        while args.pid:
            peak = max(peak, resident(args.pid))
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    begun = time.perf_counter()
    bad = [asyncio.create_task(crowd.badly(i)) for i in range(args.clients // 2)]
    await asyncio.gather(*(crowd.good() for _ in range(args.clients - len(bad))))
    seconds = time.perf_counter() - begun
    crowd.over.set()
    watching.cancel()
    await asyncio.gather(*bad, return_exceptions=True)
    await asyncio.sleep(2)
    cut = statistics.quantiles(crowd.seconds, n=100) if len(crowd.seconds) > 1 else [0.0] * 99
    print(json.dumps({
        "clients": args.clients, "seconds": round(seconds, 2), "answers": dict(crowd.status), "bad": crowd.bad,
        "scored_per_second": round(len(crowd.seconds) / seconds, 2), "p50_ms": round(1e3 * cut[49], 2), "p99_ms": round(1e3 * cut[98], 2),
        "resident_before": before, "resident_peak": peak or None, "resident_after": resident(args.pid),
    }))


if __name__ == "__main__":
    asyncio.run(main())
