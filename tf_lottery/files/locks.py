"""Locks on directories, which say who holds them."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
import threading
import warnings
import weakref

_IN_USE = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class InUseError(RuntimeError):
    """Another process, or another thread, works in the same directory."""


class Lock:
    """A lock on a directory that a killed process does not leave behind.

    The file says which process holds the lock, on which host and since when,
    as JSON. It is emptied when the lock is given back, or nobody refers to it
    any more. That of a dead process, or of a `fit` of this thread that failed,
    is taken over.
    """

    _held = weakref.WeakValueDictionary()

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._owner = self._close = self._descriptor = None

    def acquire(self):
        """Takes the lock; an `InUseError` says which process or thread has it.
        """
        self._take_over_from_this_thread()
        descriptor = _open(self.path)
        while not self._try(descriptor):
            os.close(descriptor)
            descriptor = _open(self.path)
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        self._owner = (os.getpid(), threading.current_thread())
        self._held[self.path.resolve()] = self
        try:
            self._warn_of_other_host(descriptor)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_description()).encode())
        except (OSError, UserWarning):
            self.release()
            raise

    def release(self):
        """Gives the lock back; without one, does nothing."""
        if self._close is None or self._owner[0] != os.getpid():
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        self._close()
        self._close = None
        self._held.pop(self.path.resolve(), None)

    def _take_over_from_this_thread(self):
        holder = self._held.get(self.path.resolve())
        if holder is None or holder._owner[0] != os.getpid():
            return
        thread = holder._owner[1]
        if thread.is_alive() and thread is not threading.current_thread():
            raise InUseError(
                f"Directory '{self.path.parent}' is in use by thread "
                f"'{thread.name}' of this process. Wait for it to end, or "
                "choose another directory."
            )
        holder.release()

    def _try(self, descriptor):
        """Locks the file; returns whether it is still the one at the path."""
        try:
            _lock(descriptor)
        except OSError as error:
            found = _read(descriptor)
            if error.errno in _IN_USE and _is_dead(found):
                # A child of the dead process may have kept the file open.
                if _is_at(self.path, descriptor):
                    self.path.unlink(missing_ok=True)
                return False
            os.close(descriptor)
            raise self._refusal(error, found) from None
        return _is_at(self.path, descriptor)

    def _refusal(self, error, found):
        if error.errno in _IN_USE:
            return InUseError(
                f"Directory '{self.path.parent}' is in use by another "
                f"process{_who(found)}. Wait for it to end, or choose another "
                "directory."
            )
        return OSError(
            error.errno,
            f"File '{self.path}' cannot be locked: {error.strerror}. Without "
            "locks two processes could write to the directory at once. "
            "Choose one on a file system that has locks",
        )

    def _warn_of_other_host(self, descriptor):
        found = _read(descriptor)
        if found and found["host"] != socket.gethostname():
            warnings.warn(
                f"Directory '{self.path.parent}' was not given back by a "
                f"process{_who(found)}. If it still runs, stop one of the "
                "two: not every file system locks files for other hosts.",
                stacklevel=3,
            )


def _description():
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "system": _system(),
        "since": datetime.datetime.now().isoformat(timespec="seconds"),
    }


def _started(pid):
    """When a process that runs has started, in clock ticks, or `None`."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    # One that has ended is listed until its parent asks how.
    return None if state in "ZX" else int(fields[18])


def _system():
    """What numbers of processes belong to, or `None` where it is unknown."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
        return f"{boot.strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _is_dead(found):
    """Whether the process that is named is known not to run any more."""
    same = found and found["host"] == socket.gethostname()
    if not same or found["system"] is None or found["system"] != _system():
        return False
    return _started(found["pid"]) != found["started"]


def _who(found):
    if not found:
        return ""
    return (
        f" (process {found['pid']} on host '{found['host']}', since "
        f"{found['since']})"
    )


def _read(descriptor):
    """The description in a lock file; an empty dict if there is none."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return {key: found[key] for key in _description()}
    except (OSError, AttributeError, ValueError, TypeError, KeyError):
        return {}


def _open(path):
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o666)


def _is_at(path, descriptor):
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _lock(descriptor):
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
