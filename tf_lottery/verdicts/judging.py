"""Judging: the verdict on the tickets of a run, over its trials."""

import collections
import dataclasses
import statistics

import numpy as np

from tf_lottery.verdicts import definitions
from tf_lottery.verdicts import rules as rules_lib
from tf_lottery.verdicts import significance
from tf_lottery.verdicts.rules import Rules

SHOWN, NOT_SHOWN = "shown", "not shown"
CHANCE = "not tested: the dense network is at chance level"
_STOPPED = "not tested: a denser ticket was not shown"


@dataclasses.dataclass(frozen=True)
class Result:
    """The verdict on a density by one definition.

    Its status is `"shown"`, `"not shown"`, or `"not tested: ..."`. The tests
    are of ticket less dense, and of dense less ticket's early stop, `None`
    where the definition has none, or it was not measured.
    """

    status: str
    accuracy: significance.Test | None = None
    steps: significance.Test | None = None

    @property
    def p(self) -> float:
        """Float, the larger p-value: both have to be shown."""
        found = [each.p for each in (self.accuracy, self.steps) if each]
        return max(found, default=1.0)

    @property
    def passed(self) -> bool:
        return self.p <= significance.LEVEL


@dataclasses.dataclass(frozen=True)
class RoundVerdict:
    """What the trials say of one round.

    Of a round whose density was not chosen before the run (`tested`), it only
    describes. `matches` has the number of trials that meet each definition;
    early stops, the ticket's or the dense network's, were not measured in
    `censored` of them. `early_stop` is by the paper's definition, within the
    margins, `final` by the metric at the end, `controls` whether the ticket is
    above them.
    """

    round: int
    density: float
    trials: int
    tested: bool
    censored: int
    matches: dict[str, int]
    early_stop: Result
    final: Result
    controls: dict[str, Result]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdict on a run: that on its rounds, or why nothing is tested.

    `dense` is the mean test accuracy of the dense network, or `None`.
    """

    rules: Rules
    trials: int
    dense: float | None
    rounds: list[RoundVerdict]
    refused: str = ""

    @property
    def tested(self) -> list[RoundVerdict]:
        return [each for each in self.rounds if each.tested]

    def power(self, trials: int) -> float | None:
        """Returns how likely trials show a ticket equal to the dense network.

        It takes the spreads at the first density, and accuracy and early stop
        as independent; `None` where spreads or images are not known.
        """
        first = next(iter(self.tested), None)
        if first is None or self.refused:
            return None
        accuracy = first.early_stop.accuracy or first.final.accuracy
        likely = significance.power(
            trials, accuracy.spread, self.rules.margin, accuracy.images_sd
        )
        steps = first.early_stop.steps
        if steps is None:
            return likely
        return likely * significance.power(
            trials, steps.spread, self.rules.interval
        )


def measured(row: dict, rules: Rules) -> definitions.Measured:
    """Returns what a row of results, or controls, says for the definitions."""
    return definitions.Measured(
        row["test_accuracy"],
        row.get("steps") or rules.steps or 0,
        row.get("early_stop_test_accuracy"),
        row.get("early_stop_step"),
    )


def matches(
    dense: definitions.Measured, ticket: definitions.Measured, rules: Rules
) -> dict[str, bool | None]:
    """Returns whether a ticket meets each definition in one trial."""
    return {
        "early_stop": definitions.early_stop(dense, ticket),
        "final": definitions.final(dense, ticket),
        "within_margins": definitions.early_stop(
            dense, ticket, rules.margin, rules.interval
        ),
    }


def judge(rows: list[dict], controls: list[dict], rules: Rules) -> Judgement:
    """Returns the verdict on a run, of its rows of results and of controls.

    The tickets nearest to the densities of the rules are tested from dense to
    sparse, each at 5 %, and no further than the first that is not shown, so
    that the whole sequence errs in at most 5 % of runs. Against a control they
    are tested from sparse to dense in the same way.
    """
    by_trial = collections.defaultdict(dict)
    for row in rows:
        if row.get("test_accuracy") is not None:
            by_trial[row["trial"]][row["round"]] = row
    trials = [found for found in by_trial.values() if 0 in found]
    if not trials:
        return Judgement(rules, len({row["trial"] for row in rows}), None, [])
    dense = statistics.fmean(found[0]["test_accuracy"] for found in trials)
    densities = {
        number: statistics.fmean(
            found[number]["density"] for found in trials if number in found
        )
        for number in sorted({n for found in trials for n in found} - {0})
    }
    tested = rules_lib.tested_rounds(densities, rules.densities)
    judged = [
        _round(number, density, trials, controls, rules, number in tested)
        for number, density in densities.items()
    ]
    refused = _refused(len(trials), dense, rules)
    judged = _sequence(judged, "early_stop", refused)
    judged = _sequence(judged, "final", refused)
    return Judgement(
        rules, len(trials), dense, _above(judged, refused), refused
    )


def _round(number, density, trials, controls, rules, tested):
    pairs = [
        (measured(found[0], rules), measured(found[number], rules))
        for found in trials if number in found
    ]
    missing = len(trials) - len(pairs)
    censored = sum(d.censored or t.censored for d, t in pairs)
    found = [matches(dense, ticket, rules) for dense, ticket in pairs]
    margins = (rules.margin, rules.interval) if tested else (None, None)
    final = Result(
        f"not tested: round missing in {missing} of {len(trials)} trials"
        if missing else "",
        _difference(
            [(t.accuracy, d.accuracy) for d, t in pairs], rules, margins[0]
        ),
    )
    return RoundVerdict(
        number, density, len(pairs), tested, censored,
        {name: sum(m[name] is True for m in found) for name in found[0]},
        _early_stop(pairs, censored, final, rules, margins),
        final,
        _controls(number, trials, controls, rules) if tested else {},
    )


def _early_stop(pairs, censored, final, rules, margins):
    if censored:
        return Result(
            "not tested: early stop not measured in "
            f"{censored} of {len(pairs)} trials"
        )
    return Result(
        final.status,
        _difference(
            [(t.early_stop_accuracy, d.early_stop_accuracy)
             for d, t in pairs], rules, margins[0],
        ),
        significance.test(
            [d.early_stop_step - t.early_stop_step for d, t in pairs],
            margins[1],
        ),
    )


def _difference(pairs, rules, margin):
    """Tests how far the first of each pair is above the second."""
    above, below = np.asarray(pairs, "float64").T
    error = rules.images and significance.images_sd(
        below.mean(), above.mean(), rules.images
    )
    return significance.test(above - below, margin, error or 0)


def _controls(number, trials, controls, rules):
    """Compares with the mean of a control's seeds in each trial."""
    tickets = {
        found[number]["trial"]: found[number]["test_accuracy"]
        for found in trials if number in found
    }
    seeds = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in controls:
        if row["round"] == number and row["trial"] in tickets:
            seeds[row["control"]][row["trial"]].append(row["test_accuracy"])
    return {
        name: Result(
            "" if len(found) == len(trials) else
            f"not tested: trained in {len(found)} of {len(trials)} trials",
            _difference(
                [(tickets[trial], statistics.fmean(values))
                 for trial, values in found.items()], rules, 0.0,
            ),
        )
        for name, found in seeds.items()
    }


def _refused(trials, dense, rules):
    """Why nothing can be tested, or an empty string."""
    if trials == 1:
        return definitions.ONE_TRIAL
    if rules.images is None:
        return "not tested: the number of test images is not known"
    chance = 1 / rules.classes if rules.classes else 0.0
    error = significance.images_sd(chance, 1.0, rules.images)
    if rules.classes and dense <= chance + 2 * error:
        return CHANCE
    return ""


def _sequence(rounds, definition, refused):
    """Fills in a definition's verdicts, from dense to sparse."""
    decide, found = _Sequence(refused, _STOPPED), []
    for each in rounds:
        result = getattr(each, definition)
        result = decide(result) if each.tested else dataclasses.replace(
            result, status="not tested: its density was not chosen"
        )
        found.append(dataclasses.replace(each, **{definition: result}))
    return found


def _above(rounds, refused):
    """Fills in the verdicts against controls, from sparse to dense."""
    decide = collections.defaultdict(
        lambda: _Sequence(refused, "not tested: not shown at a smaller density")
    )
    return [
        dataclasses.replace(each, controls={
            name: decide[name](result)
            for name, result in each.controls.items()
        })
        for each in reversed(rounds)
    ][::-1]


class _Sequence:
    """Decides one test after the other, up to the first that fails."""

    def __init__(self, refused, stopped):
        self._refused, self._stopped = refused, stopped

    def __call__(self, result):
        own = SHOWN if result.passed else NOT_SHOWN
        status = self._refused or result.status or own
        if status != SHOWN:
            self._refused = self._refused or self._stopped
        return dataclasses.replace(result, status=status)
