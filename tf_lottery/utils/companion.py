"""The companion: a process with Keras on TensorFlow, for one without.

What follows TensorFlow's own graph, or its converter, is asked of it, so that
nothing is written a second time for another backend. It starts when it is
asked first, which takes some seconds, and ends with the process it is for.
"""

import atexit
import contextlib
import inspect
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import warnings

import keras

from tf_lottery import internals
from tf_lottery.utils import backends

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    # The accelerator belongs to the process that trains.
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_OWN = ("keras.", "tf_lottery.")
_lock = threading.RLock()
_running = {}


class Here:
    """A function of picklable values that is called in this process."""

    def __init__(self, function):
        self.function = function


def ask(function, *args, **kwargs):
    """Calls a function of this package in the companion.

    Its arguments may be a `keras.Model`, which is made again without its
    weights, or a metric; a `Here`; and whatever is picklable, classes of
    scripts included. What it raises is raised here, of another package's class
    as a `RuntimeError`; a `ValueError` if an argument cannot be brought there.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    functions = []
    request = _pickled((name, args, kwargs), functions)
    with _lock:
        if not is_running():
            _running.clear()
            _running[os.getpid()] = _Process()
        try:
            answer, value, warned = _running[os.getpid()].ask(
                request, functions
            )
        except BaseException:
            # Whatever it says next belongs to this request.
            close()
            raise
    for message in warned:
        warnings.warn(message, stacklevel=4)
    if answer == "error":
        raise _error(*value)
    if answer == "refused":
        _refuse(value)
    return value


def is_running():
    """Returns whether there is a companion, which asking would not start."""
    return os.getpid() in _running


@atexit.register
def close():
    """Ends the companion, if there is one."""
    process = _running.pop(os.getpid(), None)
    if process is not None:
        process.kill()


class _Process:
    def __init__(self):
        paths = [path or os.getcwd() for path in sys.path]
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tf_lottery.utils.companion_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ, **_ENVIRONMENT,
                "PYTHONPATH": os.pathsep.join(paths),
            },
        )

    def ask(self, request, functions):
        """Returns its answer, after what it asks of functions here."""
        try:
            self._send(pickle.dumps(request))
            while (found := pickle.load(self._process.stdout))[0] == "call":
                _, number, args = found
                try:
                    result = "ok", functions[number](*args)
                # Of the user's: the companion raises it where it called.
                except Exception as error:
                    result = "error", error
                self._send(pickle.dumps(result))
        except (EOFError, OSError):
            raise RuntimeError(
                "The process under TensorFlow has ended by itself. It said: "
                f"{self._said()}"
            ) from None
        return found

    def kill(self):
        self._process.kill()
        self._process.wait()
        # A request may be left in the buffer of a process that is gone.
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def _send(self, content):
        self._process.stdin.write(content)
        self._process.stdin.flush()

    def _said(self):
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "nothing"


def _pickled(request, functions):
    # Needed under other backends alone.
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, keras.Model):
                layers = internals.layers.flat(value)
                return "keras", _configuration(value), _classes_of(layers)
            if isinstance(value, keras.metrics.Metric):
                config = keras.saving.serialize_keras_object(value)
                return "keras", config, _classes_of([value])
            if isinstance(value, Here):
                functions.append(value.function)
                name = getattr(value.function, "__name__", "function")
                return "here", len(functions) - 1, name
            if keras.ops.is_tensor(value):
                return "array", keras.ops.convert_to_numpy(value)
            return None

    file = io.BytesIO()
    try:
        Pickler(file).dump(request)
    # Code of the user's: whatever it raises is the reason.
    except Exception as error:
        _refuse(f"{type(error).__name__}: {error}")
    return file.getvalue()


def _classes_of(objects):
    """The classes that Keras does not know by itself, by its name for them."""
    return {
        keras.saving.get_registered_name(kind): kind
        for kind in dict.fromkeys(map(type, objects))
        if not kind.__module__.startswith(_OWN)
    }


def _configuration(model):
    """The configuration of a model as if it were not compiled."""
    compiled, model.compiled = model.compiled, False
    try:
        found = keras.saving.serialize_keras_object(model)
    finally:
        model.compiled = compiled
    taken = inspect.signature(type(model)).parameters.values()
    if not any(each.kind is each.VAR_KEYWORD for each in taken):
        # Keras tells what each layer has, whether its class takes it or not.
        for name in {"name", "trainable", "dtype"} - {x.name for x in taken}:
            found["config"].pop(name, None)
    return found


def _error(kind, args, attributes):
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


def _refuse(reason):
    raise ValueError(
        "What this takes is done in a process under the TensorFlow backend, "
        "to which the model must be brought by its configuration. Received: "
        f"backend {backends.name()!r}, and {reason[:500]}. Expected: layers "
        "with a `get_config`, of operations of `keras.ops`"
    )
