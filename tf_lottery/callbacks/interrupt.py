"""Signals that ask a process to end, met where nothing is lost."""

import contextlib
import signal
import threading
import weakref

_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class Interrupt:
    """Holds signals back while a model steps, until they are acted upon.

    Keras tells a callback nothing when `fit` ends by an exception of another
    one. So a signal is held back within a step, or a context, alone; at all
    other moments its handler passes it on to the one before, and is gone. A
    second signal does what it always does, too. Outside the main thread, where
    Python allows no handlers, nothing changes.

    The method `release` is called when a step, or a signal, ends `fit`.
    """

    def __init__(self, release):
        self.signal = None
        self._inside = 0
        self._release = weakref.WeakMethod(release)
        self._handlers = _Handlers(weakref.WeakMethod(self._note))
        weakref.finalize(self, self._handlers.give_back)

    def guard(self, model, name):
        """Holds signals back during the next `"train_function"` or other."""
        # Keras looks for layers in all that is set in the usual way, which
        # takes longer than the rest of this.
        attributes = vars(model)
        # A callback that failed may have left the last one.
        function = getattr(
            attributes[name], "unguarded", attributes[name]
        )

        def guarded(*args):
            attributes[name] = function
            with self.held_back():
                return function(*args)

        guarded.unguarded = function
        attributes[name] = guarded

    def act(self):
        """Does what the signal asked for; without one, does nothing.

        If a handler of the user's does not end the process, training goes on.
        """
        number, self.signal = self.signal, None
        if number is None:
            return
        try:
            signal.raise_signal(number)
        except BaseException:
            self._fail()
            raise

    def stop(self):
        self._handlers.give_back()

    @contextlib.contextmanager
    def held_back(self):
        if self.signal is None:
            self._handlers.take_over()
        self._inside += 1
        try:
            yield
        except StopIteration:
            # The data ran out: an end of an epoch like any other.
            raise
        except BaseException:
            self._fail()
            self.act()
            raise
        finally:
            self._inside -= 1

    def _fail(self):
        self.stop()
        release = self._release()
        if release is not None:
            release()

    def _note(self, number):
        """Holds a signal back if it is time to; returns whether it is."""
        if self._inside:
            self.signal = number
        return bool(self._inside)


class _Handlers:
    """Handlers that stand in for others until the first signal comes.

    `note` is told its number and returns whether it is held back.
    """

    def __init__(self, note):
        self._note = note
        self._before = {}

    def take_over(self):
        if self._before or not _is_main_thread():
            return
        for number in _NUMBERS:
            before = signal.getsignal(number)
            if isinstance(getattr(before, "__self__", None), _Handlers):
                # Of a `fit` that has failed.
                before.__self__.give_back()
                before = signal.getsignal(number)
            # What is ignored stays so, such as SIGHUP under `nohup`, and
            # handlers that Python does not know could not be given back.
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._handle)

    def give_back(self):
        if not _is_main_thread():
            return
        while self._before:
            number, before = self._before.popitem()
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before)

    def _handle(self, number, frame):
        self.give_back()
        note = self._note()
        if note is None or not note(number):
            signal.raise_signal(number)


def _is_main_thread():
    return threading.current_thread() is threading.main_thread()
