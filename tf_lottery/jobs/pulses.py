"""What workers say of themselves while they work, in files."""

import json
import os
import pathlib
import socket
import time

from tf_lottery import files
from tf_lottery.jobs import resources

_SECONDS = 1.0


class Pulse:
    """The file of one worker: its task, how far it is, and what it takes.

    It is a JSON object: `key` of the task, `host`, `pid`, `memory` in bytes,
    and what `beat` is given.

    Args:
        place: Path of the directory of all workers' files.
        key: String, the key of the task.
    """

    def __init__(self, place, key):
        name = f"{socket.gethostname()}-{os.getpid()}.json"
        self._path, self._key = pathlib.Path(place, name), key
        self._last = 0.0

    def beat(self, values, now=False):
        """Writes the file, at most once a second.

        Args:
            values: Dict of plain values.
            now: Boolean, whether it is written in any case. Defaults to
                `False`.
        """
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


def read(place):
    """Returns what all workers said last, a list of dicts.

    Args:
        place: Path of the directory of the files.
    """
    found = []
    for path in sorted(pathlib.Path(place).glob("*.json")):
        try:
            found.append(json.loads(path.read_text("utf-8")))
        # Of a shared directory the rest of a file may come later.
        except (OSError, ValueError):
            continue
    return found
