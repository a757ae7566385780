"""The link of a worker to the chief."""

import contextlib
import threading
import time

from tf_lottery.tuner import library

# Between two questions for a trial while others have to end first.
_IDLE = 0.5


class ChiefUnreachableError(OSError):
    """The chief does not answer."""


def wait_for_chief(address, seconds):
    """Returns when the chief answers, within some seconds, or raises."""
    grpc = library.need_grpc()
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            raise _unreachable(address, seconds) from None


def connect(oracle, address, seconds):
    """Returns keras-tuner's client of a chief, with time-outs that end."""
    from keras_tuner.src.distribute import oracle_client

    class Client(oracle_client.OracleClient):
        def __init__(self):
            super().__init__(oracle)
            self.stub = _Stub(self.stub, address, seconds)

        def create_trial(self, tuner_id):
            trial = super().create_trial(tuner_id)
            if trial.status == "IDLE":
                time.sleep(_IDLE)
            return trial

    return Client()


class _Stub:
    """Calls that wait for a minute, not for the hour of keras-tuner's."""

    def __init__(self, stub, address, seconds):
        self._stub, self._address, self._seconds = stub, address, seconds

    def __getattr__(self, name):
        grpc = library.need_grpc()
        method = getattr(self._stub, name)

        def call(request, **kwargs):
            try:
                return method(
                    request, wait_for_ready=True, timeout=self._seconds
                )
            except grpc.RpcError as error:
                if error.code() in (
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.UNAVAILABLE,
                ):
                    raise _unreachable(
                        self._address, self._seconds
                    ) from None
                raise RuntimeError(
                    f"The chief at {self._address} failed: {error.details()}"
                ) from error

        return call


@contextlib.contextmanager
def heartbeat(oracle, trial_id, interval):
    """Lets the chief hear of this worker while it trains."""
    over = threading.Event()

    def beat():
        while not over.wait(interval):
            # If the chief has gone, the end of the trial will say so.
            with contextlib.suppress(OSError, RuntimeError):
                oracle.get_trial(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _unreachable(address, seconds):
    return ChiefUnreachableError(
        f"No chief answers at {address}; waited {seconds:g} s. Start it there "
        "with KERASTUNER_TUNER_ID=chief, and check KERASTUNER_ORACLE_IP and "
        "KERASTUNER_ORACLE_PORT of this worker. If the search has ended, "
        "there is nothing to do. What was trained so far is kept."
    )
