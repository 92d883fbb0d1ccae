"""python meinheld_app.py PORT"""

import sys

from meinheld import server

from files import FILES

HEADS = {
    path: [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    for path, body in FILES.items()
}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = FILES.get(path)
    if body is None:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    start_response("200 OK", HEADS[path])
    return [body]


server.set_access_logger(None)
server.set_keepalive(60)
server.listen(("0.0.0.0", int(sys.argv[1])))
server.run(app)
