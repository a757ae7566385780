"""Event files of TensorBoard: written run by run, gone on with later.

A *run* is a sub-directory of the log directory, a curve of its own in every
chart. Files are open only while something is written, so that nothing has to
be closed when training is interrupted.
"""

import functools
import os
import socket
import time
import types


class Log:
    """The runs that one `fit` writes below a directory of such logs alone.

    If it goes on, what files hold from the first step on that is written is
    replaced. If not, they get names that TensorBoard does not read.
    """

    def __init__(self, directory, goes_on):
        self.directory = directory
        self._runs = {}
        if not goes_on:
            _set_aside(directory)

    def begin(self, run, step):
        """Opens a run from a step on; returns whether it is new, and empty."""
        if run in self._runs:
            return False
        found = self._runs[run] = _Run(_join(self.directory, run), step)
        return found.is_empty

    def add(self, run, step, values):
        self.begin(run, step)
        self._runs[run].add(step, values)

    def flush(self):
        for run in self._runs.values():
            run.flush()


class _Run:
    def __init__(self, path, step):
        self._disk = _disk(path)
        self._path = path
        self._file, self._replaced = None, _event_files(path)
        self._pending = [
            record for record in _records(self._replaced)
            if _step(record) < step
        ]
        self.is_empty = not self._pending

    def add(self, step, values):
        from tensorboard.compat.proto import event_pb2

        event = event_pb2.Event(wall_time=time.time(), step=int(step))
        event.summary.value.extend(values)
        self._pending.append(event.SerializeToString())

    def flush(self):
        if not self._pending:
            return
        if self._file is None:
            self._create()
        else:
            self._write(self._file, "ab", self._pending)
        self._pending = []

    def _create(self):
        """Writes a new file whole, then removes those that it replaces."""
        self._disk.makedirs(self._path)
        # TensorBoard reads files in the order of their names.
        name = f"{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = _join(self._path, f"events.out.tfevents.{name}")
        unseen = _join(self._path, f"unfinished.{name}")
        self._write(unseen, "wb", [_version(), *self._pending])
        self._disk.rename(unseen, self._file)
        for path in self._replaced:
            self._disk.remove(path)

    def _write(self, path, mode, records):
        from tensorboard.summary.writer import record_writer

        with self._disk.open(path, mode) as file:
            writer = record_writer.RecordWriter(file)
            for record in records:
                writer.write(record)


def check_writable(directory):
    """Raises an `OSError` unless files can be written to a log directory."""
    disk = _disk(directory)
    probe = _join(directory, f"unfinished.{os.getpid()}")
    try:
        disk.makedirs(directory)
        with disk.open(probe, "wb") as file:
            file.write(b"?")
        disk.remove(probe)
    except OSError as error:
        raise OSError(
            error.errno,
            f"Log directory '{directory}' cannot be written: "
            f"{error.strerror}",
        ) from error


def last_step(directory, run):
    """Returns the last step that a run's files hold, -1 if there is none."""
    files = _event_files(_join(directory, run))
    return max(map(_step, _records(files)), default=-1)


def _event_files(path):
    return [
        _join(path, name) for name in _names(path) if "tfevents" in name
    ]


def _set_aside(directory):
    for run in _names(directory):
        for path in _event_files(_join(directory, run)):
            name = path.rpartition("/")[2]
            unread = name.replace("tfevents", "older")
            _disk(path).rename(path, _join(_join(directory, run), unread))


def _names(path):
    disk = _disk(path)
    if not disk.isdir(path):
        return []
    return sorted(name.rstrip("/") for name in disk.listdir(path))


def _records(paths):
    """Yields the events of summaries, up to what a crash left unfinished."""
    from tensorboard.backend.event_processing import event_file_loader
    from tensorboard.compat.proto import event_pb2

    for path in paths:
        for record in event_file_loader.RawEventFileLoader(path).Load():
            if event_pb2.Event.FromString(record).HasField("summary"):
                yield record


def _step(record):
    from tensorboard.compat.proto import event_pb2

    return event_pb2.Event.FromString(record).step


def _version():
    from tensorboard.compat.proto import event_pb2

    return event_pb2.Event(
        wall_time=time.time(), file_version="brain.Event:2"
    ).SerializeToString()


def _join(directory, name):
    return f"{directory.rstrip('/')}/{name}"


def _disk(path):
    """What works on files here, or where TensorFlow reaches: `gs://...`."""
    if "://" in path:
        from tensorflow.io import gfile

        return types.SimpleNamespace(
            isdir=gfile.isdir, listdir=gfile.listdir, makedirs=gfile.makedirs,
            open=gfile.GFile, remove=gfile.remove, rename=gfile.rename,
        )
    return types.SimpleNamespace(
        isdir=os.path.isdir, listdir=os.listdir,
        makedirs=functools.partial(os.makedirs, exist_ok=True),
        open=open, remove=os.remove, rename=os.replace,
    )
