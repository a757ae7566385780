"""Shortens a protocol to the time there is, and says so.

The rule: what is given up first costs the least meaning. One thing after the
other is reduced, only as far as it takes:

1. trials, down to 1;
2. the rounds that have controls, to every second, fourth, eighth, ..., and
   at last those alone whose densities are tested;
3. seeds of each control, down to 2;
4. steps of a round, down to a tenth; learning-rate drops, warm-up and
   rewinding points move with them;
5. rounds, down to 1.

Nothing else changes. What was changed is in `config.json` and
`results.json` under `shortened`, with the value before and after.
"""

import dataclasses

from tf_lottery import schedules
from tf_lottery.experiments import durations
from tf_lottery.runs import rounds as rounds_lib

_LEAST_PART = 10


def shorten(preset, cost):
    """Returns the preset that fits into its budget, or the shortest of all."""
    if not preset.budget:
        return preset
    seconds = durations.parse(preset.budget)
    for candidate in _candidates(preset):
        if cost.seconds(candidate) <= seconds:
            break
    old, new = preset.to_dict(), candidate.to_dict()
    return dataclasses.replace(candidate, shortened={
        name: [old[name], new[name]] for name in new if old[name] != new[name]
    })


def original(preset):
    """Returns the preset that a shortened one was made of."""
    before = {name: pair[0] for name, pair in preset.shortened.items()}
    values = preset.to_dict() | before | {"shortened": {}}
    return type(preset).from_dict(values)


def describe(preset):
    """Returns one line that says what was shortened."""
    changes = ", ".join(
        f"{name} {before} to {after}"
        for name, (before, after) in preset.shortened.items()
    )
    return f"shortened to {preset.budget}: {changes}"


def _candidates(preset):
    """Yields ever shorter presets, the given one first."""
    yield preset
    for trials in range(preset.trials - 1, 0, -1):
        preset = dataclasses.replace(preset, trials=trials)
        yield preset
    if preset.control_trials and preset.compare:
        while preset.control_every:
            every = 2 * preset.control_every
            every = every if every <= preset.rounds else 0
            preset = dataclasses.replace(preset, control_every=every)
            yield preset
        for seeds in range(preset.control_trials - 1, 1, -1):
            preset = dataclasses.replace(preset, control_trials=seeds)
            yield preset
    whole, epochs = preset, preset.epochs_per_round
    for fewer in range(epochs - 1, max(1, epochs // _LEAST_PART) - 1, -1):
        shorter = with_epochs(whole, fewer)
        if shorter is not None:
            preset = shorter
            yield preset
    for rounds in range(preset.rounds - 1, 0, -1):
        every = min(preset.control_every, rounds)
        preset = dataclasses.replace(
            preset, rounds=rounds, control_every=every
        )
        yield preset


def with_epochs(preset, epochs):
    """Returns a preset of shorter rounds, with their points; `None`: too short.
    """
    every = preset.evaluate_every
    part = epochs / preset.epochs_per_round
    rewind, *others = (
        _rounded(step * part, every)
        for step in (preset.rewind_step, *preset.other_rewind_steps)
    )
    shortest = min(rounds_lib.lengths(
        preset.rounds, epochs, preset.middle_rounds
    ))
    if max(rewind, *others, 0) >= shortest * every:
        return None
    return dataclasses.replace(
        preset,
        iterations=epochs * every,
        rewind_to=_point(rewind),
        also_rewind_to=tuple(map(_point, others)),
        warmup=_scaled(preset.warmup, part),
        drops=tuple(_scaled(point, part) for point in preset.drops),
    )


def _point(step):
    return f"{step}it" if step else 0


def _scaled(point, part):
    """Moves a point with the end of the round; fractions move by themselves."""
    if schedules.Point.parse(point).fraction is not None or point == 0:
        return point
    steps = schedules.Point.parse(point).steps
    return _point(_rounded(steps * part, 1))


def _rounded(steps, unit):
    """Rounds to a multiple of a unit; not to 0 what was not 0."""
    return max(1, round(steps / unit)) * unit if steps else 0
