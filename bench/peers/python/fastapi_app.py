"""uvicorn fastapi_app:app"""

from fastapi import FastAPI
from fastapi.responses import Response

from files import FILES

app = FastAPI()


@app.get("/{path:path}")
async def get(path: str):
    body = FILES.get("/" + path)
    if body is None:
        return Response(status_code=404)
    return Response(body, media_type="text/plain")
