"""Every file of the tree that $PEER_ROOT names, by its path in a URL."""

import os

ROOT = os.environ["PEER_ROOT"]


def read(path):
    with open(path, "rb") as file:
        return file.read()


FILES = {
    os.path.join(directory, name)[len(ROOT):]: read(os.path.join(directory, name))
    for directory, _, names in os.walk(ROOT)
    for name in names
}
