"""Identity of runs: which trainings are the same, and which protocols."""

import dataclasses

from tf_lottery.utils import configurations

# In what runs of one experiment may differ.
_FREE = (
    "summary", "seed", "trials", "rounds", "compare", "control_trials",
    "control_every", "also_rewind_to", "test_densities", "margin",
    "save_freq", "budget", "shortened", "run", "versions", "changed",
)


def of_trial(run, trial):
    """Returns what a trial shares with its copies alone."""
    return run.identities.get(trial) or (run.path.resolve(), trial)


def of_seed(run, trial):
    """Returns what trials of one protocol share if they come out the same."""
    if "dataset" in run.config:
        return run.config.get("seed"), trial
    return of_trial(run, trial)


def distinct(runs, identify=of_trial):
    """Returns runs without the trials that an earlier one has."""
    known, found = set(), []
    for run in runs:
        own = {trial: identify(run, trial) for trial in run.trials}
        found.append(_only(run, [t for t in own if own[t] not in known]))
        known.update(own.values())
    return found


def check_alike(first, second):
    """Raises a `ValueError` if two runs are of different protocols."""
    different = configurations.differences(
        first.config, second.config, but=_FREE
    )
    if different:
        raise ValueError(
            f"Runs '{first.path}' and '{second.path}' are of different "
            "protocols and make no common curve. Differences, there in the "
            "first, now in the second:\n  " + "\n  ".join(different)
        )


def _only(run, trials):
    return dataclasses.replace(
        run,
        rows=[row for row in run.rows if row["trial"] in trials],
        controls=[row for row in run.controls if row["trial"] in trials],
        results={t: found for t, found in run.results.items() if t in trials},
    )
