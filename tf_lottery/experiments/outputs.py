"""The files of an experiment: the only place that knows their names."""

import contextlib
import csv
import io
import json
import pathlib
import shutil

from tf_lottery import files


class OutputDirectory:
    """A directory that holds one experiment and describes itself.

    `config.json` is the preset, `results.csv` has a row for each round,
    `controls.csv` one for each control, `results.json` all of it, and
    `trial-N/` the run directory of `IterativeMagnitudePruning` with
    `history.csv` and, if there is a winning ticket, `winning.ticket` and
    `winning.keras`, the model that it trained to, with its masks.

    Args:
        path: Path of the directory; it is made if it does not exist.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock = files.Lock(self.path / "lock")

    def check(self, preset):
        """Raises a `ValueError` if the directory holds something else.

        An earlier run of the preset may be there.
        """
        if not self.path.is_dir():
            return
        if any(path != self._lock.path for path in self.path.iterdir()):
            found = self._read_config()
            if found.get("name") != preset.name:
                what = "another preset" if found else "other files"
                raise ValueError(
                    f"Output directory '{self.path}' holds {what}. Choose "
                    "another one, or empty it."
                )

    @contextlib.contextmanager
    def create(self, preset):
        """Makes the directory; an earlier run of the preset is replaced.

        In the context that this opens no other process can do the same.

        Raises:
            ValueError: If the directory holds anything else.
            OSError: If it cannot be written.
            RuntimeError: If another process is writing to it.
        """
        self.check(preset)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._clear()
            files.write_text(self._config, _json(preset.to_dict()))
        except OSError as error:
            raise OSError(
                error.errno,
                f"Output directory '{self.path}' cannot be written: "
                f"{error.strerror}",
            ) from error
        try:
            yield self
        finally:
            self._lock.release()

    def trial(self, number):
        """Returns the path of a trial's directory."""
        return self.path / f"trial-{number}"

    def save_history(self, number, rows):
        """Writes the logs of all epochs of a trial."""
        files.write_text(self.trial(number) / "history.csv", _csv(rows))

    def save_winning_ticket(self, number, ticket, model):
        """Writes the winning ticket of a trial, and what it trained to."""
        ticket.save(self.trial(number) / "winning.ticket")
        files.save_model(model, self.trial(number) / "winning.keras")

    def save(self, report):
        """Writes the results so far."""
        files.write_text(
            self.path / "results.json", _json(report.to_dict())
        )
        files.write_text(self.path / "results.csv", _csv(report.rows()))
        controls = report.control_rows()
        if controls:
            files.write_text(self.path / "controls.csv", _csv(controls))

    def list(self):
        """Returns what is there, files first, as a list of strings."""
        top = sorted(
            path for path in self.path.iterdir()
            if path.is_file() and path != self._lock.path
        )
        trials = sorted(self.path.glob("trial-*"))
        tickets = sorted(self.path.glob("trial-*/winning.*"))
        return [str(path) for path in top + tickets + trials]

    def _clear(self):
        for name in ("results.csv", "results.json", "controls.csv"):
            (self.path / name).unlink(missing_ok=True)
        for trial in self.path.glob("trial-*"):
            shutil.rmtree(trial)

    def _read_config(self):
        try:
            found = json.loads(self._config.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def _config(self):
        return self.path / "config.json"


def _json(values):
    return json.dumps(values, indent=2) + "\n"


def _csv(rows):
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
