"""fetch.py CLIENT BASE ROOT: asks for every file under ROOT, one after the other and then at once, and compares."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE = 8


def check(path, wanted, status, body):
    if status != 200 or body != wanted:
        sys.exit(f"{path}: status {status}, {len(body)} bytes, not the {len(wanted)} of the file")


def use_requests(base, wanted):
    import requests

    with requests.Session() as session:

        def fetch(one):
            answer = session.get(base + one[0], timeout=20)
            check(*one, answer.status_code, answer.content)

        for one in wanted:
            fetch(one)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(fetch, wanted))


def use_httpx(base, wanted):
    import httpx

    with httpx.Client(timeout=20) as client:

        def fetch(one):
            answer = client.get(base + one[0])
            check(*one, answer.status_code, answer.content)

        for one in wanted:
            fetch(one)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(fetch, wanted))


def use_aiohttp(base, wanted):
    import aiohttp

    async def run():
        limits = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(20)) as session:

            async def fetch(one):
                async with session.get(base + one[0]) as answer:
                    check(*one, answer.status, await answer.read())

            for one in wanted:
                await fetch(one)
            await asyncio.gather(*map(fetch, wanted))

    asyncio.run(run())


def main():
    _, client, base, root = sys.argv
    files = (path for path in sorted(Path(root).rglob("*")) if path.is_file())
    wanted = [("/" + str(path.relative_to(root)), path.read_bytes()) for path in files]
    {"requests": use_requests, "httpx": use_httpx, "aiohttp": use_aiohttp}[client](base, wanted)
    print(f"{2 * len(wanted)} right")


main()
