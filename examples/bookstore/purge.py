"""Tells sidestep that answers with a certain tag are out of date: one HTTP request over its control socket."""

import logging
import os
import socket
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode

SOCKET = os.environ.get("SIDESTEP_SOCKET", "/run/sidestep/control.sock")


class UnixConnection(HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def purge(tag: str) -> None:
    """When it returns, no answer with `tag` that was made before the call will be given any more."""
    connection = UnixConnection("localhost", timeout=5)
    try:
        connection.request("POST", "/purge?" + urlencode({"tag": tag}))
        answer = connection.getresponse()
        if answer.status // 100 != 2:
            logging.error("sidestep does not purge %s: %s %s", tag, answer.status, answer.read())
    except (FileNotFoundError, ConnectionRefusedError):
        # It does not run, so that nothing is cached.
        pass
    except (OSError, HTTPException) as error:
        logging.error("cannot purge %s: %r", tag, error)
    finally:
        connection.close()
