"""gunicorn app:app, or gunicorn -k gevent app:app"""

import hashlib
import time

from flask import Flask, Response, request
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)


@app.get("/hit")
def hit():
    return Response("from the server\n", mimetype="text/plain")


@app.get("/miss")
def miss():
    address = f"{request.remote_addr} {request.environ['REMOTE_PORT']}\n"
    return Response(address, mimetype="text/plain")


@app.post("/upload")
def upload():
    length, digest = 0, hashlib.sha256()
    while chunk := request.stream.read(65536):
        length += len(chunk)
        digest.update(chunk)
    return Response(f"{length} {digest.hexdigest()}\n", mimetype="text/plain")


@app.get("/download")
def download():
    records = request.args.get("bytes", type=int) // 64

    def chunks():
        for first in range(0, records, 1024):
            last = min(first + 1024, records)
            yield b"".join(b"%063d\n" % number for number in range(first, last))

    return Response(chunks(), mimetype="application/octet-stream")


@app.get("/events")
def events():
    def five():
        for number in range(1, 6):
            yield f"data: {number}\n\n"
            time.sleep(0.01)

    return Response(five(), mimetype="text/event-stream")


@sock.route("/ws")
def echo(ws):
    while True:
        ws.send(ws.receive())
