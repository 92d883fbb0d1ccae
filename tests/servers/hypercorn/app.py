"""hypercorn app:app"""

import asyncio
import hashlib
from urllib.parse import parse_qs


async def app(scope, receive, send):
    """A plain ASGI application."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await echo(receive, send)
    await ROUTES.get(scope["path"], not_found)(scope, receive, send)


async def lifespan(receive, send):
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def echo(receive, send):
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": event["text"]})


async def start(send, content_type, status=200, more=()):
    headers = [(b"content-type", content_type), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def text(send, body, status=200):
    body = body.encode()
    length = (b"content-length", str(len(body)).encode())
    await start(send, b"text/plain", status, [length])
    await send({"type": "http.response.body", "body": body})


async def not_found(scope, receive, send):
    await text(send, "not found\n", 404)


async def hit(scope, receive, send):
    await text(send, "from the server\n")


async def miss(scope, receive, send):
    host, port = scope["client"]
    await text(send, f"{host} {port}\n")


async def upload(scope, receive, send):
    length, digest, more = 0, hashlib.sha256(), True
    while more:
        event = await receive()
        length += len(event["body"])
        digest.update(event["body"])
        more = event.get("more_body", False)
    await text(send, f"{length} {digest.hexdigest()}\n")


async def download(scope, receive, send):
    records = int(parse_qs(scope["query_string"])[b"bytes"][0]) // 64
    await start(send, b"application/octet-stream")
    for first in range(0, records, 1024):
        last = min(first + 1024, records)
        body = b"".join(b"%063d\n" % number for number in range(first, last))
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def events(scope, receive, send):
    await start(send, b"text/event-stream")
    for number in range(1, 6):
        body = f"data: {number}\n\n".encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b""})


ROUTES = {"/hit": hit, "/miss": miss, "/upload": upload, "/download": download, "/events": events}
