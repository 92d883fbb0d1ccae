"""sanic app:app"""

import asyncio
import hashlib

from sanic import Request, Sanic, Websocket
from sanic.response import text

app = Sanic("compat")


@app.get("/hit")
async def hit(request: Request):
    return text("from the server\n")


@app.get("/miss")
async def miss(request: Request):
    return text(f"{request.ip} {request.port}\n")


@app.post("/upload", stream=True)
async def upload(request: Request):
    length, digest = 0, hashlib.sha256()
    async for chunk in request.stream:
        length += len(chunk)
        digest.update(chunk)
    return text(f"{length} {digest.hexdigest()}\n")


@app.get("/download")
async def download(request: Request):
    records = int(request.args.get("bytes")) // 64
    response = await request.respond(content_type="application/octet-stream")
    for first in range(0, records, 1024):
        last = min(first + 1024, records)
        await response.send(b"".join(b"%063d\n" % number for number in range(first, last)))
    await response.eof()


@app.get("/events")
async def events(request: Request):
    response = await request.respond(content_type="text/event-stream")
    for number in range(1, 6):
        await response.send(f"data: {number}\n\n")
        await asyncio.sleep(0.01)
    await response.eof()


@app.websocket("/ws")
async def echo(request: Request, ws: Websocket):
    async for message in ws:
        await ws.send(message)
