"""python japronto_app.py PORT; Japronto sends no Date."""

import sys

from japronto import Application

from files import FILES


def answer(body):
    def handler(request):
        return request.Response(body=body, mime_type="text/plain")

    return handler


app = Application()
for path, body in FILES.items():
    app.router.add_route(path, answer(body))
app.run(host="0.0.0.0", port=int(sys.argv[1]), worker_num=1)
