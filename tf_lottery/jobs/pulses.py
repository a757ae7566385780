"""Pulses: files in which workers say how far their tasks are."""

import contextlib
import json
import os
import pathlib
import re
import socket
import time

from tf_lottery import files
from tf_lottery.jobs import resources

_SECONDS = 1.0


class Pulse:
    """The file of one task, JSON: how far it is, where, and what it takes."""

    def __init__(self, place, key):
        self._path, self._key = _path(place, key), key
        self._last = 0.0

    def beat(self, values, now=False):
        """Writes the file, at most once a second unless it is to be now."""
        if not now and time.monotonic() - self._last < _SECONDS:
            return
        self._last = time.monotonic()
        files.write_text(self._path, json.dumps({
            "key": self._key,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "memory": resources.memory_used(),
            **values,
        }))


def read(place, keys):
    """Returns what was said last of some tasks, a list of dicts."""
    found = []
    for key in keys:
        # Of a task that has not begun, or in a directory of another machine,
        # the file may come later.
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(_path(place, key).read_text("utf-8")))
    return found


def _path(place, key):
    return pathlib.Path(place, re.sub(r"[^\w.-]+", "-", key) + ".json")
