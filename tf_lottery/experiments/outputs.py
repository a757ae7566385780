"""The files of an experiment, as it writes them."""

import contextlib
import pathlib
import shutil

from tf_lottery import files
from tf_lottery.analysis import run_files
from tf_lottery.experiments import budgets
from tf_lottery.experiments import changes
from tf_lottery.experiments import presets
from tf_lottery.files import locks
from tf_lottery.runs import results
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.utils import configurations

# A run resumes where these have changed: nothing done before is wrong then.
_GROWING = (
    "rounds", "trials", "control_trials", "control_every", "compare",
)
# What follows from the other values.
_DERIVED = ("summary", "changed")
_LOCK = "lock"


class OutputDirectory:
    """A directory that holds one experiment and describes itself.

    `config.json` is the preset, `results.csv` has its rounds, `controls.csv`
    its controls, `results.json` all, and `trial-N/` is a `TrialDirectory`.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def check_name(self, preset):
        """Raises a `ValueError` unless it is empty or holds this preset."""
        if not self.path.is_dir():
            return
        if any(path.name != _LOCK for path in self.path.iterdir()):
            found = self._read_config()
            if found.get("name") != preset.name:
                what = "another preset" if found else "other files"
                raise ValueError(
                    f"Output directory '{self.path}' holds {what}. Choose "
                    "another one, or empty it."
                )

    def check(self, preset):
        """Raises a `ValueError` if it holds a run that cannot resume."""
        self.check_name(preset)
        found = self._read_config()
        if found:
            self._check_equal(found, preset)

    def earlier(self, preset):
        """Returns an earlier run's preset, as shortened then, or `None`."""
        found = self._read_config()
        if found.get("name") != preset.name:
            return None
        try:
            earlier = presets.Preset.from_dict(
                {**found, "summary": preset.summary}
            )
        except (TypeError, ValueError):
            return None
        same = budgets.original(earlier).to_dict() == preset.to_dict()
        return earlier if same else None

    @contextlib.contextmanager
    def create(self, preset, overwrite=False):
        """Makes the directory, or resumes or replaces its run; holds its lock.
        """
        if overwrite:
            self.check_name(preset)
        else:
            self.check(preset)
        with locked(self.path):
            if overwrite:
                self._clear()
            files.write_json(self._config, changes.config(preset))
            yield self

    def trial(self, number):
        return TrialDirectory(run_files.trial(self.path, number))

    def save(self, report):
        files.write_json(self.path / run_files.RESULTS, report.to_dict())
        write_csv(self.path / "results.csv", report.rows())
        controls = report.control_rows()
        if controls:
            write_csv(self.path / "controls.csv", controls)

    def list(self):
        """Returns what is there, files first, as a list of strings."""
        top = sorted(
            path for path in self.path.iterdir()
            if path.is_file() and path.name != _LOCK
        )
        trials = sorted(self.path.glob("trial-*"))
        tickets = sorted(self.path.glob("trial-*/candidate.*"))
        return [str(path) for path in top + tickets + trials]

    def _check_equal(self, found, preset):
        wanted = configurations.plain(changes.config(preset))
        # What the first release had not.
        new = {
            "test_densities", "margin", "criterion", "pattern", "rewind",
            "tolerance", "middle_rounds", "max_barrier", "compact",
        } - found.keys()
        differences = configurations.differences(
            found, wanted, but={*found.keys() & _GROWING, *_DERIVED, *new}
        )
        grown = preset.middle_rounds < 1 and found["rounds"] != preset.rounds
        if grown or found.get("rounds", 0) > wanted["rounds"]:
            differences.append(
                f"rounds: {found['rounds']} there, {wanted['rounds']} now"
            )
        if differences:
            raise ValueError(
                f"Output directory '{self.path}' holds a run of other "
                "values. Choose another one, or replace the run with "
                "--overwrite. Differences:\n  "
                + "\n  ".join(differences)
            )

    def _clear(self):
        for name in ("results.csv", run_files.RESULTS, "controls.csv"):
            (self.path / name).unlink(missing_ok=True)
        for trial in self.path.glob("trial-*"):
            shutil.rmtree(trial)
        # What was found in the run that is gone.
        shutil.rmtree(self.path / "analysis", ignore_errors=True)

    def _read_config(self):
        try:
            return files.read_json(self._config)
        except (OSError, ValueError):
            return {}

    @property
    def _config(self):
        return self.path / run_files.CONFIG


class TrialDirectory:
    """The directory of a trial, which is that of its pruning callback.

    Besides the callback's own files there are `history.csv`, the logs of all
    epochs as they come; `dense/`, the state at the end of the dense round;
    `controls/`, the logs of each finished control; for a variant a directory
    such as `lr-rewind/`; and `candidate.ticket` and `candidate.keras`, a
    ticket that matches the dense round and the model that it trained to.
    """

    def __init__(self, path):
        self.path = path
        self.history = path / "history.csv"
        self.dense = path / "dense"

    def variant(self, name):
        return TrialDirectory(self.path / name.replace("_", "-"))

    def control(self, round, name, number):
        name = f"round-{round:02d}-{name}-{number}.csv"
        return self.path / "controls" / name

    def write(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)

    def candidate_round(self):
        """Returns the round of the ticket that is there, or `None`."""
        # The first release called it winning.
        for name in (self._candidate.name, "winning.ticket"):
            with contextlib.suppress(
                FileNotFoundError, files.DamagedFileError
            ):
                return ticket_lib.Ticket.load(self.path / name).round
        return None

    def save_candidate(self, ticket, model):
        files.save_model(model, self.path / "candidate.keras")
        # The ticket comes last: it says which round the model is of.
        ticket.save(self._candidate)

    @property
    def _candidate(self):
        return self.path / "candidate.ticket"


@contextlib.contextmanager
def locked(place):
    """Makes a directory that no other process uses meanwhile; none if empty."""
    lock = locks.Lock(place / _LOCK)
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise OSError(
            error.errno,
            f"Output directory '{place}' cannot be written: {error.strerror}",
        ) from error
    try:
        yield
    finally:
        lock.release()
        if list(place.iterdir()) == [lock.path]:
            lock.path.unlink()
            place.rmdir()


def write_csv(path, rows):
    """Writes dicts as a CSV table."""
    files.write_text(path, results.rows_to_csv(rows))
