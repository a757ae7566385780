"""The bench that this process had last, for the next task of its trial."""

import contextlib

from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import feeds

_last = {}


@contextlib.contextmanager
def kept(preset, data):
    """Keeps data that are loaded already for the tasks of a preset."""
    _last.update(data=data, of=_data_of(preset))
    try:
        yield
    finally:
        _last.clear()


def get(preset, number, progress, fresh=False):
    """Returns the `Bench` of a trial, which takes the place of the last one.

    Args:
        preset: `tf_lottery.experiments.Preset`.
        number: Integer, number of the trial.
        progress: `progress.Progress`.
        fresh: Boolean, whether the model must have its initial weights.
            Defaults to `False`.
    """
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
    return bench


def _data_of(preset):
    return preset.dataset, preset.image_size
