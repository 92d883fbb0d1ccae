"""gunicorn flask_app:app"""

from flask import Flask, Response, abort

from files import FILES

app = Flask(__name__)


@app.get("/<path:path>")
def get(path):
    body = FILES.get("/" + path)
    if body is None:
        abort(404)
    return Response(body, mimetype="text/plain")
