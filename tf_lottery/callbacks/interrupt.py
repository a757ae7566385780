"""Ctrl-C and SIGTERM, met where nothing is lost."""

import os
import signal
import threading


class Interrupt:
    """Turns Ctrl-C and SIGTERM into a request that is met between batches.

    A second signal does what it always did. Outside the main thread, where
    Python allows no handlers, nothing changes.
    """

    def __init__(self):
        self.signal = None
        self._before = {}

    def start(self):
        """Takes over the signals."""
        self.stop()
        self.signal = None
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)

    def stop(self):
        """Gives the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())

    def act(self):
        """Does what the signal asked for, after everything is saved."""
        number = self.signal
        self.stop()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        os.kill(os.getpid(), number)

    def _note(self, number, frame):
        self.signal = number
        self.stop()
