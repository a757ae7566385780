"""Tickets trained again, and kept: a run keeps its masks, not all weights."""

import dataclasses
import pathlib

from tf_lottery import controls
from tf_lottery import files
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.weights import snapshots


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a subnetwork to the end of a round.

    Masks are those of the `"ticket"`, or `"random"` ones of equal densities.
    Round 0 is the dense network, order 0 that of the run's data.
    """

    trial: int
    round: int
    masks: str = "ticket"
    order: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        masks = self.masks + f"-{self.seed}" * (self.masks != "ticket")
        return (
            f"trial-{self.trial}-round-{self.round:02d}-{masks}-order-"
            f"{self.order}"
        )

    def __str__(self):
        order = f", data order {self.order}" if self.order else ""
        what = "ticket" if self.masks == "ticket" else "random masks"
        return f"trial {self.trial}, round {self.round}, {what}{order}"


class Trainings:
    """Weights at the end of trainings, each trained once and then kept.

    They start from the run's rewinding point and follow its protocol, so that
    on the same machine a ticket comes to the weights that it had in the run.
    """

    def __init__(self, subject, path, progress):
        self._subject, self.progress = subject, progress
        self._path = pathlib.Path(path)

    def missing(self, trainings):
        """Returns those that have to be trained, each once, as a list."""
        return [t for t in dict.fromkeys(trainings) if not self._is_kept(t)]

    def seconds(self, training):
        """Returns the time of a training, evaluations included, in the run."""
        results = self._subject.results[training.trial]
        return results[training.round].seconds

    def bytes(self, training):
        masks = self._subject.masks(training.trial, training.round)
        return 4 * sum(mask.size for mask in masks.values())

    def weights(self, training):
        if self._is_in_run(training):
            return self._subject.trained_dense(training.trial)
        return self._read(training)[0]

    def trained(self, training):
        snapshot = snapshots.Snapshot(0, self.weights(training))
        return dataclasses.replace(
            self._ticket(training), snapshot=snapshot
        )

    def accuracy(self, training):
        if self._is_in_run(training):
            return self._subject.accuracy(training.trial, 0)
        return self._read(training)[1]["test_accuracy"]

    def masks(self, training):
        return self._ticket(training).masks

    def note(self, trainings):
        """Returns how trainings compare with those of the run, or `None`."""
        largest = max((
            abs(self.accuracy(t) - self._subject.accuracy(t.trial, t.round))
            for t in dict.fromkeys(trainings)
            if t == Training(t.trial, t.round)
            and self._is_as_long(t)
            and not self._is_in_run(t) and self._is_kept(t)
        ), default=None)
        if largest is None:
            return None
        if not largest:
            return (
                "Tickets were trained again from the run's rewinding point; "
                "they came to the very test accuracies that the run recorded."
            )
        return (
            "Tickets were trained again from the run's rewinding point; their "
            f"test accuracies are up to {100 * largest:.2f} points away from "
            "those that the run recorded: another machine or version."
        )

    def _train(self, training):
        bench = self._subject.bench(training.trial)
        bench.progress = self.progress
        accuracy = bench.retrain(self._ticket(training), training.order)
        self._path.mkdir(parents=True, exist_ok=True)
        files.write_arrays(
            self._file(training),
            bench.weights(),
            {"digest": self._digest(training), "test_accuracy": accuracy},
        )

    def _ticket(self, training):
        ticket = self._subject.ticket(training.trial, training.round)
        if training.masks == "ticket":
            return ticket
        # The masks of the run's own control of this number.
        seed = bench_lib.seed(
            self._subject.preset, training.trial, "controls", training.round,
            training.seed,
        )
        return controls.random_masks(ticket, seed)

    def _is_as_long(self, training):
        """Whether the run's own round was of full length."""
        results = self._subject.results[training.trial]
        return results[training.round].steps == results[0].steps

    def _is_in_run(self, training):
        return (
            training == Training(training.trial, 0)
            and self._subject.has_dense(training.trial)
        )

    def _is_kept(self, training):
        if self._is_in_run(training):
            return True
        try:
            _, header = files.read_arrays(self._file(training))
        except (FileNotFoundError, files.DamagedFileError):
            return False
        return header.get("digest") == self._digest(training)

    def _read(self, training):
        if not self._is_kept(training):
            self._train(training)
        return files.read_arrays(self._file(training))

    def _digest(self, training):
        return self._subject.digest(training.trial, training.round)

    def _file(self, training):
        return self._path / f"{training.name}.safetensors"
