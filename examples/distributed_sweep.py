"""One search by several processes: a chief and its workers, on this machine.

    python examples/distributed_sweep.py [--workers 2] [--trials 4]

On several machines, with a directory that all of them share, start on the
first one

    export KERASTUNER_ORACLE_IP=10.0.0.5 KERASTUNER_ORACLE_PORT=8000
    KERASTUNER_TUNER_ID=chief tf-lottery sweep lenet-digits --output-dir DIR

and on each of the others, with the same two variables of the chief and a name
of its own,

    KERASTUNER_TUNER_ID=tuner0 tf-lottery sweep lenet-digits --output-dir DIR

A worker that dies loses nothing: started again under its name it resumes
its trial, and otherwise another one does. There is no password: the chief's
port belongs into a network that you trust.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable, "-m", "tf_lottery", "sweep", "lenet-digits",
            "--trials", str(arguments.trials),
            "--iterations", str(arguments.iterations),
            "--rounds", str(arguments.rounds),
            "--output-dir", directory,
        ]
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(free_port()),
        }
        names = ["chief", *(f"tuner{i}" for i in range(arguments.workers))]
        processes = [
            subprocess.Popen(
                command, env={**environment, "KERASTUNER_TUNER_ID": name}
            )
            for name in names
        ]
        sys.exit(max(process.wait() for process in processes))


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    main()
