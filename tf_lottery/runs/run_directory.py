"""The directory of a run: the names of its files, and whose they are."""

import contextlib
import errno
import json
import pathlib
import secrets
import warnings

from tf_lottery import files
from tf_lottery.files import locks
from tf_lottery.runs import codec
from tf_lottery.runs import results as results_lib
from tf_lottery.runs import run_config


class RunDirectory:
    """A directory that describes itself and holds a run of rounds.

    `config.json` says what was run, `results.csv` and `results.json` what came
    out, `snapshot.safetensors` holds the rewinding point once, and
    `rounds/NN/masks.safetensors` the masks of each round, one bit a weight.
    All files are written whole or not at all, and none needs tf_lottery to be
    read.

    A run has an identity, `run` in `config.json`, which the arrays and the
    state carry as well: those of another run are refused. Runs of the first
    release have none; they resume, and what they have not noted is not
    compared.

    A process that only reads, where another one `writes`, saves nothing.
    """

    def __init__(self, path, writes=True, run=None):
        self.path = pathlib.Path(path)
        self.writes = writes
        self._lock = locks.Lock(self.path / "lock")
        self._states = [self.path / f"state-{i}.safetensors" for i in (0, 1)]
        self.saves = 0
        self._run = run
        self._config = self.path / run_config.CONFIG
        self.other_versions = []

    @property
    def run(self):
        """String, the identity of the run; `""` for one of the first release.

        `None` as long as there is no run.
        """
        if self._run is None and self._config.exists():
            self._run = files.read_json(self._config).get("run", "")
        return self._run

    def open(self, config, model=None):
        """Makes the directory, or resumes the run it holds, until `close`.

        Meanwhile no other process can open it. All of the configuration but
        `rounds` and `versions` must be that of the run it holds;
        `other_versions` lists how these differ. The model is described by
        plain values at length.

        Raises:
            ValueError: If the directory holds another run.
            InUseError: If another process or thread is using it.
        """
        if not self.writes:
            self._check_is_shared()
            self.other_versions = run_config.check(self.path, config, model)
            return
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            with self._explained():
                (self.path / "rounds").mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
            if self._config.exists():
                self.other_versions = run_config.check(
                    self.path, config, model
                )
                # What the run began with is what its results are of.
                versions = files.read_json(self._config).get("versions")
                config = {**config, "versions": versions}
            elif self.load_state() is None:
                # One that branched off another run belongs to that.
                self._run = secrets.token_hex(8)
            with self._explained():
                if model is not None:
                    files.write_json(self.path / run_config.MODEL, model)
                files.write_json(self._config, {"run": self.run, **config})
            failed.pop_all()

    def close(self):
        """Lets other processes open the directory."""
        self._lock.release()

    def save_state(self, arrays, position):
        """Writes the state of training; the one before it is kept."""
        self.saves += 1
        self._write_arrays(
            self._states[self.saves % 2],
            arrays,
            {"save": self.saves, "position": position},
        )

    def load_state(self):
        """Returns arrays and position of the newest whole state, or `None`."""
        found, damaged = [], []
        for path in self._states:
            try:
                arrays, header = self._read_arrays(path)
                save = codec.field(header, "save", int)
                position = codec.field(header, "position", dict)
                found.append((save, arrays, position))
            except FileNotFoundError:
                continue
            except files.DamagedFileError as error:
                damaged.append(str(error))
        if damaged and not found:
            raise files.DamagedFileError(
                f"The run in '{self.path}' cannot resume: no saved state is "
                "whole.\n" + "\n".join(damaged)
            )
        if damaged:
            warnings.warn(
                f"{damaged[0]} The run resumes from the state before it.",
                stacklevel=2,
            )
        if not found:
            return None
        self.saves, arrays, position = max(found, key=lambda item: item[0])
        return arrays, position

    def save_snapshot(self, snapshot):
        self._write_arrays(self._snapshot, *codec.encode_snapshot(snapshot))

    def load_snapshot(self):
        return self._decode(self._snapshot, codec.decode_snapshot)

    def save_weights(self, round, name, snapshot):
        """Writes weights of a round: its `"start"`, or what it `"trained"` to.
        """
        self._write_arrays(
            self._of_round(round, name), *codec.encode_snapshot(snapshot)
        )

    def load_weights(self, round, name):
        path = self._of_round(round, name)
        if not path.exists():
            return None
        return self._decode(path, codec.decode_snapshot)

    def save_masks(self, round, masks):
        if self.writes:
            with self._explained():
                self._round(round).mkdir(exist_ok=True)
        arrays, header = codec.encode_masks(masks)
        self._write_arrays(
            self._of_round(round, "masks"), arrays, {"round": round, **header}
        )

    def load_masks(self, round):
        def decode(arrays, header):
            if header.get("round") != round:
                raise ValueError(
                    f"It has the masks of round {header.get('round')!r}."
                )
            if "run" not in header:
                # The first release wrote them under their keys alone.
                arrays = codec.join(mask=arrays)
            return codec.decode_masks(arrays, header)

        return self._decode(self._of_round(round, "masks"), decode)

    def save_results(self, results):
        rows = [result.to_dict() for result in results]
        self._write(files.write_json, self.path / "results.json", rows)
        self._write(
            files.write_text, self.path / "results.csv",
            results_lib.to_csv(results),
        )

    def load_results(self):
        rows = json.loads((self.path / "results.json").read_text())
        return [results_lib.RoundResult.from_dict(row) for row in rows]

    def _write_arrays(self, path, arrays, metadata):
        self._write(
            files.write_arrays, path, arrays,
            {"run": self.run or "", **metadata},
        )

    def _write(self, write, *arguments):
        if self.writes:
            with self._explained():
                write(*arguments)

    def _read_arrays(self, path):
        """Reads arrays of this run; another one's are as good as damaged."""
        arrays, header = files.read_arrays(path)
        found = header.get("run", "")
        if self.run is None:
            self._run = found
        if found != self.run:
            raise files.DamagedFileError(
                f"File '{path}' belongs to another run: it was copied here. "
                f"Received: run={found!r}. Expected: {self.run!r}."
            )
        return arrays, header

    def _decode(self, path, decode):
        arrays, header = self._read_arrays(path)
        try:
            return decode(arrays, header)
        except ValueError as error:
            raise files.DamagedFileError(
                f"File '{path}' is damaged: its parts do not fit together. "
                f"{error}"
            ) from None

    @contextlib.contextmanager
    def _explained(self):
        """Makes errors of the system say what is safe and what to do."""
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"Directory '{self.path}' cannot be written. {error.strerror}."
                " What was saved before is whole. "
                f"{_advice(error.errno)}, and start the same script again: "
                "the run resumes from the last saved state",
            ) from error

    def _check_is_shared(self):
        """Raises unless the process that writes has opened this directory."""
        if not self._config.exists():
            raise FileNotFoundError(
                f"Directory '{self.path}' is not the one that process 0 "
                "writes to. Choose one that all processes see, on a file "
                "system that they share."
            )

    @property
    def _snapshot(self):
        return self.path / "snapshot.safetensors"

    def _of_round(self, round, name):
        return self._round(round) / f"{name}.safetensors"

    def _round(self, round):
        return self.path / "rounds" / f"{round:02d}"


def _advice(number):
    """What helps against an error of the system, by its number."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Make the directory writable"
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return "Bring the directory back"
    return "Mend that"
