"""sanic sanic_app:app"""

from email.utils import formatdate
from time import monotonic

from sanic import Sanic
from sanic.response import raw

from files import FILES

app = Sanic("peer")
date, until = "", 0.0


@app.get("/<path:path>")
async def get(request, path):
    # Sanic has no Date of its own.
    global date, until
    if monotonic() >= until:
        date, until = formatdate(usegmt=True), monotonic() + 1
    body = FILES.get("/" + path)
    if body is None:
        return raw(b"", status=404)
    return raw(body, content_type="text/plain", headers={"Date": date})
