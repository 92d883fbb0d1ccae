"""python app.py PORT"""

import hashlib
import sys

from twisted.internet import reactor, task
from twisted.python import log
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import Data
from twisted.web.websocket import WebSocketResource


class Miss(Resource):
    isLeaf = True

    def render_GET(self, request):
        client = request.getClientAddress()
        request.setHeader("content-type", "text/plain")
        return f"{client.host} {client.port}\n".encode()


class Upload(Resource):
    isLeaf = True

    def render_POST(self, request):
        body = request.content.read()
        request.setHeader("content-type", "text/plain")
        return f"{len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()


class Records:
    """A pull producer: the transport asks for the next chunk when it has room."""

    def __init__(self, request, records):
        self.request, self.next, self.records = request, 0, records

    def resumeProducing(self):
        first, last = self.next, min(self.next + 1024, self.records)
        self.next = last
        self.request.write(b"".join(b"%063d\n" % number for number in range(first, last)))
        if last == self.records:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self):
        self.next = self.records


class Download(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader("content-type", "application/octet-stream")
        request.registerProducer(Records(request, int(request.args[b"bytes"][0]) // 64), False)
        return NOT_DONE_YET


class Events(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader("content-type", "text/event-stream")
        numbers = iter(range(1, 6))

        def send():
            number = next(numbers, None)
            if number is None:
                loop.stop()
                request.finish()
            else:
                request.write(f"data: {number}\n\n".encode())

        loop = task.LoopingCall(send)
        loop.start(0.01)
        return NOT_DONE_YET


class Echo:
    @classmethod
    def buildProtocol(cls, request):
        return cls()

    def negotiationStarted(self, transport):
        self.transport = transport

    def negotiationFinished(self):
        pass

    def textMessageReceived(self, message):
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data):
        self.transport.sendBytesMessage(data)

    def pongReceived(self, payload):
        pass

    def connectionLost(self, reason):
        pass


def line(timestamp, request):
    client = request.getClientAddress()
    return f"{client.host} {client.port} {request.method.decode()} {request.uri.decode()}"


log.startLogging(sys.stdout)
root = Resource()
root.putChild(b"hit", Data(b"from the server\n", "text/plain"))
root.putChild(b"miss", Miss())
root.putChild(b"upload", Upload())
root.putChild(b"download", Download())
root.putChild(b"events", Events())
root.putChild(b"ws", WebSocketResource(Echo))
site = Site(root, logFormatter=line)
reactor.listenTCP(int(sys.argv[1]), site, interface="::")
reactor.run()
