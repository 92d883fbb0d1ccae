"""uvicorn app:app"""

import asyncio
import hashlib

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

app = FastAPI()


@app.get("/hit", response_class=PlainTextResponse)
async def hit():
    return "from the server\n"


@app.get("/miss", response_class=PlainTextResponse)
async def miss(request: Request):
    return f"{request.client.host} {request.client.port}\n"


@app.post("/upload", response_class=PlainTextResponse)
async def upload(request: Request):
    length, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        length += len(chunk)
        digest.update(chunk)
    return f"{length} {digest.hexdigest()}\n"


@app.get("/download")
async def download(bytes: int):
    async def records():
        for first in range(0, bytes // 64, 1024):
            last = min(first + 1024, bytes // 64)
            yield b"".join(b"%063d\n" % number for number in range(first, last))

    return StreamingResponse(records(), media_type="application/octet-stream")


@app.get("/events")
async def events():
    async def five():
        for number in range(1, 6):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(five(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
