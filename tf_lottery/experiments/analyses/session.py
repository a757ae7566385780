"""Session: one analysis of one run, what it lacks and what it costs."""

import dataclasses
import json
import pathlib

from tf_lottery import files
from tf_lottery.experiments import durations
from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments.analyses import trainings as trainings_lib
from tf_lottery.utils import configurations


class Progress(progress_lib.Progress):
    """Is told what an analysis does; does nothing. Subclasses show it."""

    def plan(self, plan: "Plan") -> None:
        """Called before anything that takes long."""

    def training_begin(self, training: trainings_lib.Training) -> None:
        """Called before a training."""

    def measured(self, item: tuple[int, int]) -> None:
        """Called after a ticket was measured."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an analysis has to do yet.

    Measured are pairs of trial and round. The time is that by the pace of the
    run, which evaluated after every epoch: an upper bound on the same machine.
    `measured` tickets are done, the budget has no time for the rounds
    `left_out`.
    """

    trainings: list[trainings_lib.Training]
    epochs: int
    steps: int
    seconds: float
    bytes: int
    measured: int
    items: list[tuple[int, int]]
    left_out: list


class Session:
    """Measures tickets one by one and keeps what is finished.

    `do` trains and measures what a `Plan` of a kind says, and calls back.
    """

    def __init__(self, subject, options, place, progress):
        self.subject, self.options = subject, options
        self.place, self.progress = pathlib.Path(place), progress
        self.trainings = trainings_lib.Trainings(
            subject, self.place / "weights", progress
        )
        self.do = None
        self.left_out = []
        self._used = []

    def items(self, default, least=0):
        rounds = self.options.rounds
        subject = self.subject
        known = [number for number in subject.rounds if number >= least]
        wrong = sorted(set(rounds or ()) - set(known))
        if wrong or not known:
            raise ValueError(_unknown_rounds(subject, wrong, known))
        rounds = sorted(set(default if rounds is None else rounds))
        return [
            (trial, number) for number in rounds
            for trial in subject.trials(number)
        ]

    def measure(self, kind):
        """Measures items that were not measured so; returns the rows of all."""
        store = _Measured(
            self.place / "measured" / f"{kind.name}.json", kind.settings
        )
        names = {item: self._name(item) for item in kind.items}
        todo = [item for item in names if names[item] not in store.rows]
        plan = self._plan(todo, kind, len(names) - len(todo))
        self.left_out = plan.left_out
        self.progress.plan(plan)
        self.do(kind, plan, lambda item, rows: store.add(names[item], rows))
        done = [item for item in names if names[item] in store.rows]
        self._used = [t for item in done for t in kind.trainings(item)]
        return [row for item in done for row in store.rows[names[item]]]

    def trained_again(self):
        """Returns how what was trained for `measure` compares, or `None`."""
        return self.trainings.note(self._used)

    def model(self, training):
        model = self.subject.bench(training.trial).model
        self.trainings.trained(training).apply(model)
        return model

    def _plan(self, todo, kind, measured):
        """Returns the plan, of the first rounds that fit into the budget."""
        preset = self.subject.preset
        trainings, items, seconds, left_out = [], [], 0.0, []
        for number in dict.fromkeys(number for _, number in todo):
            of_round = [item for item in todo if item[1] == number]
            needed = sum(map(kind.trainings, of_round), [])
            missing = [
                training for training in self.trainings.missing(needed)
                if training not in trainings
            ]
            takes = sum(map(self.trainings.seconds, missing))
            takes += kind.seconds() * len(of_round)
            if left_out or seconds + takes > self.options.seconds:
                if not items and not measured and not left_out:
                    raise ValueError(
                        "Argument `budget` leaves no time for round "
                        f"{number}, which takes about "
                        f"{durations.render(takes)}. Received: "
                        f"budget={self.options.budget!r}"
                    )
                left_out.append(number)
                continue
            trainings += missing
            items += of_round
            seconds += takes
        each = preset.iterations - preset.rewind_step
        return Plan(
            trainings,
            len(trainings) * (each // preset.evaluate_every),
            len(trainings) * each,
            seconds,
            sum(map(self.trainings.bytes, trainings)),
            measured,
            items,
            left_out,
        )

    def _name(self, item):
        trial, number = item
        digest = self.subject.digest(trial, number)
        return f"trial-{trial}-round-{number:02d}-{digest}"


class _Measured:
    """Rows of tickets that were measured with some settings, in a file."""

    def __init__(self, path, settings):
        self._path = path
        self._settings = configurations.plain(settings)
        self.rows = {}
        try:
            found = json.loads(path.read_text("utf-8"))
            if found["settings"] == self._settings:
                self.rows = dict(found["items"])
        # One that cannot be read is measured again.
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.rows = {}

    def add(self, name, rows):
        self.rows[name] = rows
        self._path.parent.mkdir(parents=True, exist_ok=True)
        found = {"settings": self._settings, "items": self.rows}
        files.write_json(self._path, found)


def _unknown_rounds(subject, wrong, known):
    there = f"{known[0]} to {known[-1]}" if known else "none"
    planned = subject.preset.rounds
    unfinished = "" if subject.rounds[-1] >= planned else (
        f" (the run is unfinished: {planned} are planned)"
    )
    return (
        f"Argument `rounds` names rounds that cannot be measured in "
        f"'{subject.path}'. Received: {wrong}. Expected: rounds {there}"
        f"{unfinished}."
    )
