"""python app.py PORT"""

import asyncio
import hashlib
import logging
import sys

import tornado.web
import tornado.websocket


class Hit(tornado.web.RequestHandler):
    def get(self):
        self.write("from the server\n")


class Miss(tornado.web.RequestHandler):
    def get(self):
        host, port = self.request.connection.context.address[:2]
        self.write(f"{host} {port}\n")


@tornado.web.stream_request_body
class Upload(tornado.web.RequestHandler):
    def prepare(self):
        self.length, self.digest = 0, hashlib.sha256()

    def data_received(self, chunk):
        self.length += len(chunk)
        self.digest.update(chunk)

    def post(self):
        self.write(f"{self.length} {self.digest.hexdigest()}\n")


class Download(tornado.web.RequestHandler):
    async def get(self):
        records = int(self.get_argument("bytes")) // 64
        self.set_header("Content-Type", "application/octet-stream")
        for first in range(0, records, 1024):
            last = min(first + 1024, records)
            self.write(b"".join(b"%063d\n" % number for number in range(first, last)))
            await self.flush()


class Events(tornado.web.RequestHandler):
    async def get(self):
        self.set_header("Content-Type", "text/event-stream")
        for number in range(1, 6):
            self.write(f"data: {number}\n\n")
            await self.flush()
            await asyncio.sleep(0.01)


class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


def log(handler):
    request = handler.request
    host, port = request.connection.context.address[:2]
    logging.info("%s %s %s %s", host, port, request.method, request.uri)


async def main():
    logging.basicConfig(level=logging.INFO)
    app = tornado.web.Application(
        [
            ("/hit", Hit),
            ("/miss", Miss),
            ("/upload", Upload),
            ("/download", Download),
            ("/events", Events),
            ("/ws", Echo),
        ],
        log_function=log,
    )
    app.listen(int(sys.argv[1]))
    await asyncio.Event().wait()


asyncio.run(main())
