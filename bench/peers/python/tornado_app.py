"""python tornado_app.py PORT"""

import asyncio
import sys

import tornado.web

from files import FILES


class Get(tornado.web.RequestHandler):
    def get(self):
        body = FILES.get(self.request.path)
        if body is None:
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", "text/plain")
        self.write(body)

    def compute_etag(self):
        # No peer but the file servers has one.
        return None


async def main():
    app = tornado.web.Application([(r"/.*", Get)], log_function=lambda handler: None)
    app.listen(int(sys.argv[1]))
    await asyncio.Event().wait()


asyncio.run(main())
