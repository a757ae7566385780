"""Words: verdicts as sentences that say what they rest on."""

import dataclasses

from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import judging
from tf_lottery.verdicts import rules as rules_lib
from tf_lottery.verdicts import significance

_HEADS = (
    "round", "density %", "at the end", "at early stop",
    "early stop, steps earlier", "paper", "end", "within margins", "verdict",
)
_DASH = "–"


def sentence(judgement: judging.Judgement) -> str:
    """Returns the verdict on a run as one sentence."""
    tested, images = judgement.tested, judgement.rules.images
    counted = f"{images:,} test images" if images else "unknown test images"
    if judgement.trials == 1:
        return (
            f"Not tested: one trial, {counted}; a verdict takes "
            f"{significance.PILOT} trials."
        )
    if not tested:
        return "Not tested: " + (
            "no density was chosen before the run." if judgement.rounds
            else "no round of pruning was finished."
        )
    return (
        f"{judgement.trials} trials{_pilot(judgement)} on {counted}: "
        f"{_said(judgement)}."
    )


def lines(judgement: judging.Judgement) -> list:
    """Returns a line for each density that was chosen before the run."""
    return [_line(each, judgement.rules) for each in judgement.tested]


def text(judgement: judging.Judgement) -> str:
    """Returns the sentence, and those of the densities, line by line."""
    return "\n".join([sentence(judgement), *lines(judgement)])


def to_dict(judgement: judging.Judgement) -> dict:
    """Returns a judgement as plain values, with its sentences."""
    return {
        "sentence": sentence(judgement),
        "lines": lines(judgement),
        **dataclasses.asdict(judgement),
    }


def table(judgement: judging.Judgement) -> tuple:
    """Returns heads and cells, a row for every round."""
    return list(_HEADS), [
        [
            str(each.round),
            f"{100 * each.density:.2f}",
            _interval(each.final.accuracy),
            _interval(each.early_stop.accuracy),
            _interval(each.early_stop.steps, 1, ""),
            *(f"{number} of {each.trials}"
              for number in each.matches.values()),
            status(each, judgement.rules),
        ]
        for each in judgement.rounds
    ]


def status(each: judging.RoundVerdict, rules: rules_lib.Rules) -> str:
    """Returns the verdict on a round by the paper's definition."""
    found = each.early_stop
    if found.status == judging.SHOWN:
        return (
            f"winning ticket ({each.matches['within_margins']} of "
            f"{each.trials} trials, {_interval(found.accuracy)}, "
            f"p = {found.p:.2g})"
        )
    end = each.final.accuracy
    if each.tested and each.trials == 1 and end.images_sd:
        p = significance.chance(end.mean, rules.margin, end.images_sd)
        if p > significance.LEVEL:
            return (
                f"one trial, {rules.images:,} images: this could be chance "
                f"(p = {p:.2g})"
            )
    return found.status


def _pilot(judgement):
    if judgement.trials >= significance.PILOT:
        return ""
    power = judgement.power(judgement.trials)
    return " (a pilot)" if power is None else (
        f" (a pilot, power {power:.2f})"
    )


def _said(judgement):
    shown, rules = _shown(judgement, "early_stop"), judgement.rules
    if shown:
        return (
            f"at {_density(shown)}, {status(shown, rules)}, within "
            f"{100 * rules.margin:g} points and {rules.interval} steps of the "
            "dense network"
        )
    first = judgement.tested[0]
    if judgement.refused:
        return judgement.refused
    if first.early_stop.status != judging.NOT_SHOWN:
        return (
            f"{first.early_stop.status} at {_density(first)}; by the accuracy "
            f"at the end {_at_the_end(judgement)}"
        )
    return (
        f"no winning ticket is shown at {_density(first)} or below"
        f"{_why(judgement)}"
    )


def _at_the_end(judgement):
    margin = f"within {100 * judgement.rules.margin:g} points"
    shown = _shown(judgement, "final")
    if shown:
        return (
            f"tickets down to {_density(shown)} match the dense network "
            f"{margin} ({shown.matches['final']} of {shown.trials} trials are "
            f"no lower, {_interval(shown.final.accuracy)})"
        )
    return (
        f"no ticket is shown to match the dense network {margin}"
        f"{_why(judgement)}"
    )


def _why(judgement):
    rules = judgement.rules
    images = significance.images_needed(judgement.dense, rules.margin)
    if images > rules.images:
        return (
            f"; {rules.images:,} images are too few to tell "
            f"{100 * rules.margin:g} points: with any number of trials that "
            f"takes more than {images:,}"
        )
    power = judgement.power(judgement.trials)
    if power >= significance.POWER:
        return (
            "; a ticket equal to the dense network would be shown in "
            f"{100 * power:.0f} % of such runs"
        )
    trials = significance.trials_needed(judgement.power)
    if trials is None:
        return "; at this spread no number of trials would show one"
    return (
        f"; it takes {trials} trials to show a ticket that equals the dense "
        f"network in {100 * significance.POWER:.0f} % of runs"
    )


def _line(each, rules):
    end = each.final.status
    same = end == each.early_stop.status
    parts = [
        f"{_density(each)}: {status(each, rules)}",
        f"at the end {'' if same else end + ', '}"
        f"{_interval(each.final.accuracy)}",
        _matches(each.trials, **each.matches),
    ]
    if each.censored:
        parts.append(f"early stop not measured in {each.censored}")
    for name, result in each.controls.items():
        parts.append(
            f"over {comparisons.label(name)} {_interval(result.accuracy)}"
            + ("" if result.status.startswith("not tested")
               else _tested(result))
        )
    return "; ".join(parts)


def _matches(trials, early_stop, final, within_margins):
    return (
        f"paper's definition in {early_stop} of {trials} "
        f"trial{'s' if trials > 1 else ''}, metric at the end in {final}, "
        f"within the margins in {within_margins}"
    )


def _tested(result):
    effect = result.accuracy.effect
    sizes = [f"p = {result.p:.2g}"] + (
        [] if effect is None else [f"effect {effect:.1f}"]
    )
    return f", {result.status} ({', '.join(sizes)})"


def _shown(judgement, definition):
    """The sparsest round that is shown by a definition."""
    shown = [
        each for each in judgement.tested
        if getattr(each, definition).status == judging.SHOWN
    ]
    return shown[-1] if shown else None


def _density(each):
    return f"{100 * each.density:.1f} % density"


def _interval(test, scale=100, unit=" points"):
    """A difference with its 90 % interval."""
    if test is None:
        return _DASH
    mean, low, high = (
        None if value is None else f"{scale * value:+.1f}"
        for value in (test.mean, test.low, test.high)
    )
    ends = "" if low is None else f" ({low} to {high})"
    return f"{mean}{unit}{ends}"
