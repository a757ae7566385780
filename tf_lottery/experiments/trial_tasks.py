"""What the tasks of a preset do, in any process.

The rounds of a trial are one task, since each prunes what the last one has
trained. After it, every training of a control is a task, and every variant.
A process keeps the bench that it had last for the next task of its trial.
"""

import contextlib

from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import feeds
from tf_lottery.experiments import outputs
from tf_lottery.experiments import trials

_last = {}


def find_tickets(preset, path, number, progress):
    """Runs all rounds of a trial; returns a `records.Trial`."""
    progress.trial_begin(number)
    return _trial(preset, path, number, progress, fresh=True).find_tickets()


def train_control(preset, path, number, round, name, index, progress):
    """Trains a control, which writes its logs to a file."""
    trial = _trial(preset, path, number, progress)
    trial.train_control(round, name, index)


def run_variant(preset, path, number, name, progress):
    """Runs the rounds of a variant; returns a dict of outcomes."""
    progress.variant_begin(number, name)
    return _trial(preset, path, number, progress).run_variant(name)


@contextlib.contextmanager
def kept(preset, data):
    """Keeps data that are loaded already for the tasks of a preset."""
    _last.update(data=data, of=_data_of(preset))
    try:
        yield
    finally:
        _last.clear()


def _trial(preset, path, number, progress, fresh=False):
    """The trial on the last bench, unless that has to be a fresh one."""
    bench = _last.pop("bench", None)
    if fresh or bench is None or (bench.preset, bench.number) != (
        preset, number
    ):
        # The data of two trials may be too much for the memory.
        del bench
        if _last.get("of") != _data_of(preset):
            _last.update(data=feeds.load(preset), of=_data_of(preset))
        bench = bench_lib.Bench(preset, _last["data"], number)
    bench.progress = progress
    _last["bench"] = bench
    return trials.TrialRun(bench, outputs.TrialDirectory(path))


def _data_of(preset):
    return preset.dataset, preset.image_size
