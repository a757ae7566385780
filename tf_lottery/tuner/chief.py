"""The process that hands out trials to workers."""

import time
from concurrent import futures

from tf_lottery.tuner import library


def serve(oracle, address, worker_timeout, wait):
    """Serves an oracle at an address until the search has ended.

    The trial of a worker that is silent for too long is given to another one;
    while there is none, the chief waits for one.
    """
    grpc = library.need_grpc()
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_chief

    # One thread, so that nothing happens at the same time.
    executor = futures.ThreadPoolExecutor(max_workers=1)
    # Two processes must not share a port, which is the default on Linux.
    server = grpc.server(executor, options=[("grpc.so_reuseport", 0)])
    servicer = oracle_chief.OracleServicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    _listen(server, address)
    began = time.monotonic()

    def is_over():
        oracle.give_up(worker_timeout)
        if oracle.ongoing_trials or oracle.tuner_ids:
            return False
        if not servicer.stop_triggered:
            _check_heard(oracle, began, address, wait)
        return servicer.stop_triggered

    server.start()
    try:
        while not executor.submit(is_over).result():
            time.sleep(min(0.2, worker_timeout / 4))
    finally:
        # The last answer is still on its way.
        server.stop(grace=2).wait()
        executor.shutdown()


def _check_heard(oracle, began, address, seconds):
    """Raises if no worker has been heard of for so long."""
    heard = max([began, *oracle.heard.values()])
    if time.monotonic() - heard >= seconds:
        raise RuntimeError(
            f"No worker has asked the chief at {address} for a trial for "
            f"{seconds:g} s; {len(oracle.end_order)} trials have ended and "
            "are kept. Start the chief and workers again to go on, each "
            "worker with a KERASTUNER_TUNER_ID of its own and the chief's "
            "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT."
        )


def _listen(server, address):
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise OSError(
            f"The chief cannot listen on '{address}'. Another process may, "
            "perhaps a chief that still runs; or it is no address of this "
            "machine. See KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT."
        )
