"""A run that is analysed: its preset, tickets and models."""

import dataclasses
import functools
import hashlib
import json

from tf_lottery.analysis import run_files
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import changes
from tf_lottery.experiments import feeds
from tf_lottery.experiments import outputs
from tf_lottery.experiments import presets
from tf_lottery.experiments import streaming
from tf_lottery.runs import branches
from tf_lottery.runs import run_directory
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.verdicts import comparisons

# What may change while the trainings of a ticket stay the same.
_NO_PROTOCOL = (
    "summary", "rounds", "trials", "compare", "control_trials",
    "control_every", "save_freq", "budget", "shortened", "test_densities",
    "margin", "middle_rounds", "max_barrier",
)


class Subject:
    """Reads the directory of `tf-lottery run`; writes nothing.

    It must hold a finished round. `results` are the `RoundResult`s by trial.
    """

    def __init__(self, directory):
        self.run = run_files.read(directory)
        self.path, self.results = self.run.path, self.run.results
        self.preset = _preset(self.run)
        if not self.results:
            raise ValueError(
                f"The run in '{self.path}' has no finished round yet. "
                "Expected: a run of which at least round 0 has been trained."
            )
        self._bench = None
        self._file_digest = functools.cache(
            lambda path: _digest(path.read_bytes())
        )

    @property
    def rounds(self):
        return list(range(max(map(len, self.results.values()))))

    @property
    def candidates(self):
        """List of the rounds of candidate tickets, as they are in files."""
        found = (self._place(n).candidate_round() for n in self.results)
        return sorted({number for number in found if number is not None})

    @property
    def chosen_rounds(self):
        """List of the round of the paper's density and the candidates'."""
        found = set(self.candidates)
        density = self.published.get("stability", {}).get("density")
        if density:
            found |= {
                result.round for result in max(self.results.values(), key=len)
                if abs(result.density - density) <= 0.05 * density
            }
        return sorted(found - {0}) or self.rounds[1:][-1:]

    @property
    def published(self):
        return changes.published(self.preset)

    @functools.cached_property
    def data(self):
        data = feeds.load(self.preset)
        if isinstance(data, streaming.Streamed):
            raise ValueError(
                "This analysis takes data that fit into memory. Received: "
                f"preset '{self.preset.name}', whose images of {data.name} "
                "are streamed. Expected: another preset, or kind 'accuracy', "
                "'overlap' or 'density'."
            )
        return data

    def density(self, trial, round):
        return self.results[trial][round].density

    def accuracy(self, trial, round):
        """Returns the test accuracy of a round, as the run recorded it."""
        return self.results[trial][round].metrics["test_accuracy"]

    def trials(self, round):
        return [
            number for number, found in self.results.items()
            if round < len(found)
        ]

    def masks(self, trial, round):
        return self._files(trial).load_masks(round)

    def ticket(self, trial, round, step=None):
        """Returns the `Ticket` that a round trained, rewound to a step.

        Rounds of one of `preset.other_rewind_steps` have masks of their own.
        """
        place = self._files(trial, step)
        return ticket_lib.Ticket(
            place.load_masks(round), place.load_snapshot(), round
        )

    def has_dense(self, trial):
        return branches.is_kept(self._place(trial).dense)

    def trained_dense(self, trial):
        return branches.dense_weights(self._place(trial).dense)

    def trained_last(self, trial, step=None):
        """Returns what the last round trained to, by key; see `ticket`."""
        return branches.dense_weights(self._files(trial, step).path)

    def bench(self, trial, iterations=None):
        """Returns the `Bench` of a trial; that of another one is dropped."""
        preset = dataclasses.replace(
            self.preset, iterations=iterations or self.preset.iterations
        )
        bench = self._bench
        if bench is None or (bench.number, bench.preset) != (trial, preset):
            data, self._bench = self.data, None
            self._bench = bench_lib.Bench(preset, data, trial)
        return self._bench

    def digest(self, trial, round):
        """Returns a string that is another one for any other ticket."""
        place = self._place(trial).path
        parts = [
            self._file_digest(place / name) for name in
            ("snapshot.safetensors", f"rounds/{round:02d}/masks.safetensors")
        ]
        protocol = {
            name: value for name, value in self.preset.to_dict().items()
            if name not in _NO_PROTOCOL
        }
        return _digest(json.dumps([*parts, protocol]).encode())

    def _place(self, trial):
        return outputs.TrialDirectory(run_files.trial(self.path, trial))

    def _files(self, trial, step=None):
        place = self._place(trial)
        if step not in (None, self.preset.rewind_step):
            place = place.variant(comparisons.of_point(step))
        return run_directory.RunDirectory(place.path)


def _preset(run):
    path = run.path / run_files.CONFIG
    if "dataset" not in run.config:
        raise ValueError(
            f"'{run.path}' does not say which model and data it is of. "
            f"Received: '{path}' without 'dataset'. Expected: a directory "
            "that `tf-lottery run` wrote to; for that of a callback or of one "
            "trial, there are the functions of `tf_lottery.analysis`."
        )
    try:
        return presets.Preset.from_dict(run.config)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The preset in '{path}' cannot be read: {error}"
        ) from error


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:16]
