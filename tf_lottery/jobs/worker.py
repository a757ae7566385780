"""A worker: its settings, and a task in it."""

import dataclasses
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

import keras
import numpy as np

from tf_lottery.jobs import pulses
from tf_lottery.jobs import resources
from tf_lottery.jobs.tasks import UnfitWorkerError
from tf_lottery.utils import backends


@dataclasses.dataclass(frozen=True)
class Settings:
    """What must be the same in all processes, for the same results.

    `report` makes the progress of a task from its `pulses.Pulse`. Sums are
    rounded in another way with another number of threads.
    """

    place: str
    report: Callable
    versions: dict
    threads: int
    policy: str
    deterministic: bool

    @classmethod
    def here(cls, place, report):
        """Returns those of this process."""
        return cls(
            str(pathlib.Path(place).resolve()), report, versions(), threads(),
            keras.config.dtype_policy().name, _is_deterministic(),
        )


def versions():
    """Returns what results depend on: names and versions."""
    return {
        "tf_lottery": sys.modules["tf_lottery"].__version__,
        "keras": keras.__version__,
        "tensorflow": backends.tf.__version__,
        "numpy": np.__version__,
        "backend": keras.backend.backend(),
    }


def threads():
    """Returns the number of threads that compute an operation."""
    config = backends.tf.config.threading
    return config.get_intra_op_parallelism_threads() or resources.cores()


def work(settings, task):
    """Does a task in a worker, unless it is unfit; returns its result."""
    _prepare(settings)
    report = settings.report(pulses.Pulse(settings.place, task.key))
    try:
        return task.function(*task.arguments, report)
    finally:
        report.end()


def begin(parent):
    """Makes this process a worker of a parent, with which it ends.

    It leaves Ctrl-C to that.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _prepare(settings):
    _check_versions(settings)
    _check_is_shared(settings)
    config = backends.tf.config
    try:
        if threads() != settings.threads:
            config.threading.set_intra_op_parallelism_threads(settings.threads)
        for gpu in config.list_physical_devices("GPU"):
            # Several workers have a part of it each.
            config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        raise UnfitWorkerError(
            f"{_name()} has used TensorFlow before, with {threads()} threads "
            f"for an operation. Expected: {settings.threads}, or a worker "
            "that was started anew."
        ) from None
    if settings.deterministic and not _is_deterministic():
        config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(settings.policy)


def _check_versions(settings):
    found = versions()
    others = [
        f"{name} {found[name]} there, {version} here"
        for name, version in settings.versions.items()
        if found[name] != version
    ]
    if others:
        raise UnfitWorkerError(
            f"{_name()} would come to other results: {'; '.join(others)}. "
            "Install the same versions."
        )


def _check_is_shared(settings):
    if not pathlib.Path(settings.place).is_dir():
        raise UnfitWorkerError(
            f"{_name()} does not see the directory '{settings.place}' of "
            "this run. Expected: a directory that all machines share, under "
            "the same path."
        )


def _name():
    return f"The worker on host '{socket.gethostname()}' ({os.getpid()})"


def _is_deterministic():
    # TensorFlow has no public name for the question.
    from tensorflow.python.framework import config

    return config.is_op_determinism_enabled()
