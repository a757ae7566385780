"""The child process that loads and runs files: one runtime, one life.

It is given as text to `python -c`, so that neither Keras nor, for LiteRT,
TensorFlow is imported. Requests and answers are lines of JSON; arrays go
through files. Whatever happens to it happens to no one else.
"""

import contextlib
import functools
import importlib.util
import json
import math
import os
import shutil
import sys
import time
import warnings

try:
    import resource
except ImportError:  # There are no such limits under Windows.
    resource = None

# More than the caches of a processor hold, and calls that are enough then.
_CACHE = 64 << 20
_COLD_TURNS = 60


def main(runtime, memory, seconds):
    """Answers requests from stdin until it is closed.

    All requests together may take so much `memory`, and each so much time on
    each processor.
    """
    # What C++ prints to stdout must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    open_file = _load(runtime)
    for line in sys.stdin:
        request = json.loads(line)
        # A conversion takes what it takes.
        limited = request["do"] != "call"
        _limit_memory(memory if limited else math.inf)
        _limit_time(seconds if limited else math.inf)
        before = os.fstat(2).st_size
        try:
            answer = {"ok": _REQUESTS[request.pop("do")](open_file, **request)}
        # Any failure is an answer; the parent decides what it means.
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
            # The converter and TFLM say there what they do not raise.
            if not limited or runtime == "tflite_micro":
                answer["error"] += f"\n{_said(before)}"
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _said(before):
    """Returns what was written to stderr, a file, behind a place in it."""
    size = os.fstat(2).st_size - before
    return os.pread(2, size, before).decode(errors="replace").strip()


def _limit_memory(more):
    """Limits the memory that is taken from now on, where that is possible."""
    if resource is None or not os.path.exists("/proc/self/statm"):
        return
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, taken + more)


def _limit_time(seconds):
    """Ends this process if nobody does so when a request takes too long."""
    if resource is None:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    allowed = float(seconds) * (os.cpu_count() or 1)
    _limit(resource.RLIMIT_CPU, used + allowed + 1)


def _limit(limit, value):
    """Sets a soft limit, as far as the hard one allows."""
    hard = resource.getrlimit(limit)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    elif value == math.inf:
        value = hard
    resource.setrlimit(limit, (int(value), hard))


def _load(runtime):
    """Imports a runtime; returns a function that opens a file with it."""
    if runtime == "tflite_micro":
        from tflite_micro.python.tflite_micro import runtime as micro

        return functools.partial(_Micro, micro.Interpreter)
    if runtime == "ai_edge_litert":
        import ai_edge_litert.interpreter as litert

        return functools.partial(_Lite, litert.Interpreter)
    if runtime == "onnxruntime":
        import onnxruntime

        return functools.partial(_Onnx, onnxruntime)
    import tensorflow as tf

    return functools.partial(_Lite, tf.lite.Interpreter)


class _Lite:
    def __init__(self, interpreter, path, threads):
        self.it = interpreter(model_path=path, num_threads=threads)

    def prepare(self, arrays):
        details = self.it.get_input_details()
        for detail, array in zip(details, arrays):
            if tuple(detail["shape"]) != array.shape:
                self.it.resize_tensor_input(detail["index"], array.shape)
        self.it.allocate_tensors()
        for detail, array in zip(details, arrays):
            self.it.set_tensor(detail["index"], _as_input(array, detail))

    def invoke(self):
        self.it.invoke()

    def outputs(self):
        return [
            _as_float(self.it.get_tensor(detail["index"]), detail)
            for detail in self.it.get_output_details()
        ]

    def signature(self, key, inputs):
        return self.it.get_signature_runner(key)(**inputs)


class _Micro:
    def __init__(self, interpreter, path, threads=1, arena=None):
        with open(path, "rb") as file:
            content = file.read()
        arena = arena or max(1 << 20, 12 * len(content))
        self.it = interpreter.from_bytes(content, arena_size=arena)
        self.number = _number_of_outputs(content)

    def prepare(self, arrays):
        for i, array in enumerate(arrays):
            detail = self.it.get_input_details(i)
            self.it.set_input(_as_input(array, detail), i)

    def invoke(self):
        self.it.invoke()

    def outputs(self):
        return [
            _as_float(self.it.get_output(i), self.it.get_output_details(i))
            for i in range(self.number)
        ]


class _Onnx:
    def __init__(self, onnxruntime, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def prepare(self, arrays):
        names = [each.name for each in self.session.get_inputs()]
        self.inputs = dict(zip(names, arrays))

    def invoke(self):
        self.found = self.session.run(None, self.inputs)

    def outputs(self):
        return self.found


def _scale(detail):
    """Returns scale and zero point of a quantised tensor, or `None`."""
    found = detail["quantization_parameters"]
    scales, zeros = found["scales"], found["zero_points"]
    return (scales[0], zeros[0]) if len(scales) else None


def _as_input(array, detail):
    """Returns an array in the type of an input, quantised if that is."""
    import numpy as np

    if _scale(detail) and array.dtype.kind == "f":
        scale, zero = _scale(detail)
        limits = np.iinfo(detail["dtype"])
        array = np.clip(np.round(array / scale) + zero, limits.min, limits.max)
    return np.asarray(array, detail["dtype"])


def _as_float(array, detail):
    """Returns what a quantised output stands for."""
    if not _scale(detail):
        return array
    scale, zero = _scale(detail)
    return (array.astype("float32") - zero) * scale


def _number_of_outputs(content):
    from tflite_micro.tensorflow.lite.micro.python import (
        schema_py_generated as schema,
    )

    model = schema.Model.GetRootAsModel(bytearray(content), 0)
    return model.Subgraphs(0).OutputsLength()


def _arrays(path):
    import numpy as np

    with np.load(path) as content:
        return [content[name] for name in content.files]


def run(open_file, model, inputs, outputs, batch=1, key=None):
    """Runs a model on all samples; writes the outputs of every call.

    With a `key` the signature of that name is called, once.
    """
    import numpy as np

    file = open_file(model, threads=1)
    if key is not None:
        with np.load(inputs) as content:
            np.savez(outputs, **file.signature(key, dict(content)))
        return
    arrays = _arrays(inputs)
    calls = []
    for start in range(0, len(arrays[0]), batch):
        file.prepare([array[start:start + batch] for array in arrays])
        file.invoke()
        calls.append([np.array(output) for output in file.outputs()])
    np.savez(outputs, *(np.stack(found) for found in zip(*calls)))


def measure(open_file, models, inputs, seconds, threads, cold=False):
    """Times models in turn; returns a list of seconds for each.

    With `cold` the caches are filled with something else before each call,
    as when a program does other work in between.
    """
    arrays = _arrays(inputs)
    loaded = [open_file(path, threads=threads) for path in models]
    # One thread: what it computes itself, whatever else the machine does.
    clock = time.thread_time if threads == 1 else time.perf_counter
    for file in loaded:
        file.prepare(arrays)
    once = max(_warm(loaded, clock), 1e-7)
    # The clock itself takes a part of a microsecond. More calls in a row
    # would find the weights of a small model in the cache.
    repeats = max(1, int(1e-5 * len(loaded) / once))
    turns = int(min(1000, max(9, seconds / (once * repeats))))
    other = None
    if cold:
        other, repeats, turns = bytearray(_CACHE), 1, min(turns, _COLD_TURNS)
    times = [[] for _ in loaded]
    for turn in range(turns):
        for i in range(len(loaded)):
            i = (i + turn) % len(loaded)
            invoke = loaded[i].invoke
            if cold:
                other = bytearray(other)
            start = clock()
            for _ in range(repeats):
                invoke()
            times[i].append((clock() - start) / repeats)
    return times


def _warm(loaded, clock):
    """Returns what calling each model once takes, after two calls."""
    took = 0.0
    for file in loaded:
        for _ in range(3):
            start = clock()
            file.invoke()
            last = clock() - start
        took += last
    return took


def arena(open_file, model, inputs, nbytes):
    """Runs a file with so much RAM; that it fails is the answer."""
    file = open_file(model, arena=nbytes)
    file.prepare(_arrays(inputs))
    file.invoke()


def call(open_file, module, function, arguments):
    """Calls a function of a module that is given by its path."""
    spec = importlib.util.spec_from_file_location("called", module)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return getattr(found, function)(**arguments)


_REQUESTS = {"run": run, "measure": measure, "arena": arena, "call": call}

if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    # Who asks no more has been killed: it ends this process otherwise.
    shutil.rmtree(sys.argv[4], ignore_errors=True)
