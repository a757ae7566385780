"""Runtimes in child processes: a file that crashes one is a failed check.

A child lives on from file to file, because starting it takes seconds; after
a crash the next one is started. Within `kept` it also serves the next export.
"""

import contextlib
import contextvars
import importlib.util
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading

import numpy as np

from tf_lottery.export import runner
from tf_lottery.utils import backends
from tf_lottery.utils import companion

TENSORFLOW = "tensorflow"
LITE = ("ai_edge_litert", TENSORFLOW)
MICRO = "tflite_micro"
ONNX = "onnxruntime"
# As users know them.
LABELS = {
    "ai_edge_litert": "LiteRT",
    TENSORFLOW: "TensorFlow Lite",
    MICRO: "TFLM",
    "ethos-u": "Ethos-U",
}
_SECONDS = 600
_MEMORY = 8 << 30
_KEPT: contextvars.ContextVar = contextvars.ContextVar("kept", default=None)
# Of the companion, which does not return in between.
_elsewhere = contextlib.ExitStack()


class RuntimeFailure(RuntimeError):
    """A runtime refused a file, crashed on it or did not come back.

    Attributes:
        crashed: Boolean, whether the process died.
    """

    def __init__(self, reason: str, crashed: bool = False) -> None:
        super().__init__(reason)
        self.crashed = crashed


def installed() -> list[str]:
    """Returns the names of the installed runtimes of full size.

    Example:

    >>> from tf_lottery.export import children
    >>> "tensorflow" in children.installed()
    True
    """
    return [name for name in LITE if importlib.util.find_spec(name)]


def micro_installed():
    """Returns whether TensorFlow Lite Micro's interpreter is installed."""
    return importlib.util.find_spec(MICRO) is not None


@contextlib.contextmanager
def kept():
    """A context in which all exports share their children."""
    if not backends.is_tensorflow():
        companion.ask(_keep)
        try:
            yield
        finally:
            if companion.is_running():
                companion.ask(_release)
        return
    with contextlib.ExitStack() as stack:
        token = _KEPT.set((stack, {}))
        try:
            yield
        finally:
            _KEPT.reset(token)


def _keep():
    """Keeps those of this process until `_release`."""
    _elsewhere.enter_context(kept())


def _release():
    _elsewhere.close()


def started(stack, name):
    """Returns a `Runtime` that runs, until a stack or `kept` ends."""
    stack, found = _KEPT.get() or (stack, {})
    if name not in found:
        found[name] = stack.enter_context(Runtime(name))
    found[name].start()
    return found[name]


class Runtime:
    """One runtime, in a child process that is started when first needed.

    Attributes:
        name: String.
        ran: Integer, the requests that the child has answered.
        place: Path of the directory of its files.

    Args:
        timeout: Number of seconds that one request may take.
        memory: Integer, the bytes that the child may take beyond what its
            runtime takes when it is loaded, where the system can limit them.
    """

    def __init__(self, name, timeout=_SECONDS, memory=_MEMORY):
        self.name = name
        self.ran = 0
        self._timeout = timeout
        self._memory = memory
        self._child = None
        self._directory = tempfile.TemporaryDirectory(prefix="tf_lottery-")
        self.place = pathlib.Path(self._directory.name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def start(self):
        """Starts the child; its imports go on while the caller works."""
        if self._child is None:
            limits = [str(self._memory), str(self._timeout)]
            self._child = _Child(self.name, self.place, limits)
            self.ran = 0

    def close(self):
        """Ends the child and removes its files."""
        self.restart()
        self._directory.cleanup()

    def restart(self):
        """Ends the child; the next request has a fresh one."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        self.ran = 0

    def run(self, content, arrays, batch=1):
        """Returns a file's outputs for samples, calls on the first axis.

        Raises:
            RuntimeFailure: If it cannot be loaded or run.
        """
        found = self._run(content, dict(enumerate(arrays)), batch=batch)
        return list(found.values())

    def run_signature(self, content, key, inputs):
        """Returns the outputs of one signature, both as dicts by name."""
        return self._run(content, inputs, key=key)

    def measure(self, contents, arrays, seconds=1.0, threads=1, cold=False):
        """Returns lists of seconds of one call, the files taking turns."""
        paths = [self._write(c, f"m{i}") for i, c in enumerate(contents)]
        return self._ask(
            "measure", models=paths, inputs=self._arrays(arrays),
            seconds=seconds, threads=threads, cold=cold,
        )

    def try_arena(self, content, arrays, nbytes):
        """Runs a file in TensorFlow Lite Micro with that much RAM."""
        self._ask(
            "arena", model=self._write(content, "m"),
            inputs=self._arrays(arrays), nbytes=nbytes,
        )

    def call(self, module, function, **arguments):
        """Calls a function of a module that needs nothing of the package.

        Neither time nor memory is limited. Arguments are what JSON can say.
        """
        return self._ask(
            "call", module=module.__file__, function=function,
            arguments=arguments,
        )

    def _run(self, content, inputs, **options):
        outputs = self.place / "outputs.npz"
        np.savez(
            self.place / "inputs.npz",
            **{str(name): array for name, array in inputs.items()},
        )
        self._ask(
            "run", model=self._write(content, "m"),
            inputs=str(self.place / "inputs.npz"), outputs=str(outputs),
            **options,
        )
        with np.load(outputs) as found:
            return dict(found)

    def _ask(self, do, **request):
        self.start()
        timeout = None if do == "call" else self._timeout
        try:
            answer = self._child.ask({"do": do, **request}, timeout)
        except RuntimeFailure:
            self.restart()
            raise
        self.ran += 1
        if "error" in answer:
            raise RuntimeFailure(answer["error"])
        return answer["ok"]

    def _write(self, content, name):
        path = self.place / f"{name}.tflite"
        # The file before may still be mapped by the child: not over it.
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        return str(path)

    def _arrays(self, arrays):
        path = self.place / "inputs.npz"
        np.savez(path, *arrays)
        return str(path)


class _Child:
    def __init__(self, name, directory, limits):
        self._name = name
        self._answers = queue.SimpleQueue()
        source = pathlib.Path(runner.__file__).read_text()
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self._log = open(directory / "log", "w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-c", source, name, *limits, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=directory,
            env=environment,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, request, timeout):
        """Returns the answer to a request."""
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout)
        except (BrokenPipeError, OSError):
            line = b""
        except queue.Empty:
            raise RuntimeFailure(
                f"no answer within {timeout} s", crashed=True
            ) from None
        if not line:
            raise RuntimeFailure(self._death(), crashed=True)
        return json.loads(line)

    def kill(self):
        """Ends the process and waits for it."""
        self._process.kill()
        self._process.wait()
        # A request may be left in the buffer of a process that is gone.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def _listen(self):
        try:
            for line in self._process.stdout:
                self._answers.put(line)
        except ValueError:
            # Closed while reading: nobody waits any more.
            return
        self._answers.put(b"")

    def _death(self):
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        if code < 0:
            return f"the process crashed ({signal.Signals(-code).name})"
        last = said.splitlines()[-1] if said else "no message"
        return f"the process ended with status {code}: {last[:300]}"
