"""python twisted_app.py PORT"""

import sys

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from files import FILES


class Get(Resource):
    isLeaf = True

    def render_GET(self, request):
        body = FILES.get(request.path.decode())
        if body is None:
            request.setResponseCode(404)
            return b""
        request.setHeader(b"content-type", b"text/plain")
        return body


class Quiet(Site):
    def log(self, request):
        pass


reactor.listenTCP(int(sys.argv[1]), Quiet(Get()), interface="::")
reactor.run()
