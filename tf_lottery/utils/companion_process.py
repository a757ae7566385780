"""The companion's own side: requests from stdin, answers to stdout."""

import contextlib
import importlib
import io
import os
import pickle
import signal
import sys
import warnings

import keras


def main():
    """Answers requests until there are no more."""
    # Ctrl-C is for the process that asks; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What is printed must not get between the answers.
    os.dup2(2, 1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            answers.write(_answer(answers))
            answers.flush()


class _Unpickler(pickle.Unpickler):
    def __init__(self, request, answers):
        super().__init__(io.BytesIO(request))
        self._answers = answers

    def persistent_load(self, value):
        kind, *found = value
        if kind == "keras":
            config, classes = found
            with keras.saving.custom_object_scope(classes):
                # The configuration is that of the process that asks.
                return keras.saving.deserialize_keras_object(
                    config, safe_mode=False
                )
        if kind == "array":
            return found[0]
        number, name = found

        def called(*args):
            return self._called(number, args)

        called.__name__ = name
        return called

    def _called(self, number, args):
        self._answers.write(pickle.dumps(("call", number, args)))
        self._answers.flush()
        kind, result = pickle.load(sys.stdin.buffer)
        if kind == "error":
            raise result
        return result


def _answer(answers):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        kind, value = _result(answers)
    texts = [str(w.message) for w in warned if w.category is UserWarning]
    return pickle.dumps((kind, value, texts))


def _result(answers):
    request = pickle.load(sys.stdin.buffer)
    try:
        name, args, kwargs = _Unpickler(request, answers).load()
    # Code of the user's: whatever it raises is the reason.
    except Exception as error:
        # What went wrong at first.
        while error.__context__ is not None:
            error = error.__context__
        line = (str(error).splitlines() or [""])[0]
        return "refused", f"{type(error).__name__}: {line}"
    module, _, name = name.partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        return "ok", function(*args, **kwargs)
    # What it raises is for the process that asks.
    except Exception as error:
        kind = type(error)
        if kind.__module__.startswith(("builtins", "tf_lottery.")):
            # Not as it is: its class may be made from other arguments.
            return "error", (kind, error.args, vars(error))
        said = f"{kind.__name__}: {error}"
        return "error", (RuntimeError, (said,), {})


if __name__ == "__main__":
    main()
