"""Signals that ask a process to end, met where nothing is lost."""

import contextlib
import signal
import threading

_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class Interrupt:
    """Holds signals back while a model steps, until they are acted upon.

    Keras tells a callback nothing when `fit` ends by an exception. So the
    signals are taken over for the time of one step only, and are given back
    however it ends. At all other moments a signal does what it always does:
    what was saved last is whole.

    A second signal within a step does what it always does, too. Outside the
    main thread, where Python allows no handlers, nothing changes.

    Args:
        release: Callable without arguments that is called when a step, or a
            signal, ends `fit`.

    Attributes:
        signal: Integer, the signal that was held back, or `None`.
    """

    def __init__(self, release):
        self.signal = None
        self._release = release
        self._before = {}

    def guard(self, model, name):
        """Holds signals back during the next step of a model.

        Args:
            model: `keras.Model`.
            name: String, the attribute of the function that Keras calls:
                `"train_function"` or `"test_function"`.
        """
        function = getattr(model, name)
        # A callback that failed may have left the last one.
        function = getattr(function, "unguarded", function)

        def guarded(*args):
            setattr(model, name, function)
            with self.held_back():
                return function(*args)

        guarded.unguarded = function
        setattr(model, name, guarded)

    def act(self):
        """Does what the signal asked for; without one, does nothing.

        If it was not asked to end, as a handler of the user's may decide,
        training goes on.
        """
        number, self.signal = self.signal, None
        if number is None:
            return
        try:
            signal.raise_signal(number)
        except BaseException:
            self._release()
            raise

    @contextlib.contextmanager
    def held_back(self):
        """Holds signals back for the time of a context."""
        self._take_over()
        try:
            yield
        except StopIteration:
            # The data ran out: an end of an epoch like any other.
            raise
        except BaseException:
            self._give_back()
            self._release()
            self.act()
            raise
        finally:
            self._give_back()

    def _take_over(self):
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _NUMBERS:
            before = signal.getsignal(number)
            # What is ignored stays so, such as SIGHUP under `nohup`, and
            # handlers that Python does not know could not be given back.
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._note)

    def _give_back(self):
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number, frame):
        self.signal = number
        self._give_back()
