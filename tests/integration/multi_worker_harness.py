"""Runs examples/multi_worker_loop.py as several workers; prints what came out.

    python -m tests.integration.multi_worker_harness DIRECTORY

Workers are forked from a process that has imported TensorFlow and done
nothing else, and talk over the loopback interface.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import socket
import sys
import time

import tests

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import tf_lottery as tfl

WORKERS = 2
_EXAMPLE = tests.ROOT / "examples"


def example():
    path = _EXAMPLE / "multi_worker_loop.py"
    spec = importlib.util.spec_from_file_location("multi_worker_loop", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(module, directory, name, last_dies_at=None):
    """Starts all workers; returns their process ids."""
    ports = free_ports(WORKERS)
    dies_at = [None] * (WORKERS - 1) + [last_dies_at]
    return [
        fork(lambda: work(module, directory, name, index, dies_at[index]), {
            "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
            "task": {"type": "worker", "index": index},
        }, directory / f"{name}-{index}.log")
        for index in range(WORKERS)
    ]


def fork(function, cluster, log):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.environ["TF_CONFIG"] = json.dumps(cluster)
        for descriptor in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), descriptor)
        function()
        status = 0
    finally:
        os._exit(status)


def work(module, directory, name, index, dies_at):
    """Runs the example; kills itself when the n-th epoch begins."""
    found, writes, epochs = {}, [], []
    save = tfl.Ticket.save

    def counted(ticket, path):
        writes.append(str(path))
        save(ticket, path)

    tfl.Ticket.save = counted
    report = module.report
    rows = found["rounds"] = []

    def seen(model, data, round):
        report(model, data, round)
        rows.append(look(model))

    train_epoch = module.train_epoch

    def counted_epoch(*args):
        epochs.append(args)
        if len(epochs) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_epoch(*args)

    module.report, module.train_epoch = seen, counted_epoch
    arguments = ["--rounds", "2", "--epochs", "2",
                 "--directory", str(directory / name)]
    try:
        model = module.main(arguments)
        found |= {"digest": module.digest(model), "writes": len(writes)}
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
    path = directory / f"{name}-{index}.json"
    path.write_text(json.dumps(found))
    sys.stdout.flush()


def look(model):
    variables, masks = tfl.weights.variables(model), tfl.masks_of(model)
    return {
        "density": tfl.masks.density(masks),
        "revived": sum(
            int(np.count_nonzero(
                keras.ops.convert_to_numpy(variables[key])[~mask]
            ))
            for key, mask in masks.items()
        ),
    }


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait(pids, seconds=240):
    """Waits for workers; returns their exit statuses, `None` if killed."""
    statuses = {}
    until = time.monotonic() + seconds
    while len(statuses) < len(pids):
        for pid in pids:
            if pid in statuses:
                continue
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                statuses[pid] = status
            elif time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                statuses[pid] = None
        time.sleep(0.05)
    return [statuses[pid] for pid in pids]


def main():
    directory = pathlib.Path(sys.argv[1])
    module = example()
    statuses = {"whole": wait(start(module, directory, "whole"))}
    # The second epoch of round 1; the state on disk is of its first.
    killed = start(module, directory, "killed", last_dies_at=4)
    statuses["killed"] = wait(killed)
    for log in directory.glob("killed-*"):
        log.replace(log.with_name(f"first-{log.name}"))
    statuses["again"] = wait(start(module, directory, "killed"))
    found = {
        path.stem: json.loads(path.read_text())
        for path in directory.glob("*.json")
    }
    files = sorted(p.name for p in (directory / "whole").iterdir())
    sys.stdout.write(json.dumps(
        {"statuses": statuses, "files": files, **found}
    ))


if __name__ == "__main__":
    main()
