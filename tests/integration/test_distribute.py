"""Masks hold on every replica, on one machine and on several."""

import functools
import json
import math
import re
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

import tests
import tf_lottery as tfl
from tests import conftest
from tf_lottery.callbacks import pruner
from tf_lottery.experiments.models import imagenet

PAGE = (tests.ROOT / "docs/several_machines.md").read_text()
TRAINED = ("momentum", "mixed", "gradual", "prune_hold", "wrapped", "resumed")


def output(harness, directory):
    done = subprocess.run(
        [sys.executable, "-m", f"tests.integration.{harness}", directory],
        cwd=tests.ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """What all cases came to, by name; they run in one process."""
    directory = tmp_path_factory.mktemp("mirrored")
    return functools.reduce(
        dict.__or__, output("distribute_harness", directory)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_no_weight_comes_back_on_any_replica(name, mirrored):
    found = mirrored[name]
    assert found["revived"] == 0 and found["seen"] > 500
    assert found["copies"] == [2] and found["finite"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_replicas_agree_bit_for_bit(name, mirrored):
    assert mirrored[name]["disagreeing"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*TRAINED} - {"wrapped"}))
def test_each_replica_has_masks_of_its_own(name, mirrored):
    """Else each step would fetch them from another device."""
    assert mirrored[name]["copies_of_masks"] == [2]


def kept(*fractions, size=224):
    """Densities after each removal of a fraction of the survivors."""
    counts = [size]
    for fraction in fractions:
        counts.append(counts[-1] - round(fraction * counts[-1]))
    return [count / size for count in counts]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, densities",
    [("momentum", kept(0.4, 0.4)), ("mixed", kept(0.4)),
     ("resumed", kept(0.4, 0.4))],
)
def test_density_of_every_round_is_exact(name, densities, mirrored):
    found = mirrored[name]
    reached = found.get("rounds") or found["tickets"]
    assert reached == pytest.approx(densities, abs=1e-12)
    assert sorted(set(found["densities"]), reverse=True) == reached
    assert found["density"] == reached[-1]


@pytest.mark.slow
def test_effective_density_is_known(mirrored):
    assert all(value > 0 for value in mirrored["momentum"]["effective"])


@pytest.mark.slow
def test_gradual_pruning_follows_its_schedule(mirrored):
    found = mirrored["gradual"]["densities"]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 56 / 224 and len(set(found)) >= 2


@pytest.mark.slow
def test_pruned_before_training_held_saved_and_stripped(mirrored):
    found = mirrored["prune_hold"]
    assert found["densities"][0] == 0.5 > found["density"]
    assert found["same_masks"] and found["predicts_alike"]
    assert found["loaded"]["revived"] == 0 < found["loaded"]["seen"]
    assert found["loaded"]["density"] == found["density"]
    assert found["loaded"]["disagreeing"] == 0


@pytest.mark.slow
def test_layers_hold_masks_in_a_loop_of_replicas(mirrored):
    assert set(mirrored["wrapped"]["densities"]) == {90 / 224}


@pytest.mark.slow
def test_killed_run_ends_with_the_same_bits_on_every_replica(mirrored):
    found = mirrored["resumed"]
    assert found["same"] == [True, True, True]
    assert found["again"]["revived"] == 0


@pytest.mark.slow
def test_one_writer_leaves_whole_files_alone(mirrored):
    files = {name.partition("/")[2] for name in mirrored["resumed"]["files"]}
    assert files == {
        "config.json", "model.json", "lock", "results.csv", "results.json",
        "snapshot.safetensors", "state-0.safetensors", "state-1.safetensors",
        *(f"rounds/{i:02d}/masks.safetensors" for i in range(3)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imp", "gradual"])
def test_fit_for_several_workers_is_refused(name, mirrored):
    message = mirrored["several"][name]
    assert "MultiWorkerMirroredStrategy" in message
    assert "examples/multi_worker_loop.py" in message
    assert "MirroredStrategy`" in message.partition("Expected:")[2]


@pytest.mark.parametrize(
    "owner, name",
    [
        (tf.distribute, "ParameterServerStrategy"),
        (tf.distribute.experimental, "ParameterServerStrategy"),
        (tf.distribute.experimental, "CentralStorageStrategy"),
        (tf.distribute, "TPUStrategy"),
        (tf.distribute.experimental, "MultiWorkerMirroredStrategy"),
    ],
)
def test_strategies_that_are_refused(owner, name):
    """A cluster of these cannot be had here: only the message is tested."""
    kind = getattr(owner, name)
    model = type("Model", (), {
        "name": "m", "distribute_strategy": object.__new__(kind)
    })
    with pytest.raises(ValueError, match=f"Model 'm' .*{name}.*Received"):
        pruner.check_strategy(model)


def test_without_a_strategy_nothing_is_refused(compiled):
    pruner.check_strategy(compiled)
    pruner.check_strategy(conftest.sequential())


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workers")
    (found,) = output("multi_worker_harness", directory)
    return found


@pytest.mark.slow
def test_workers_hold_the_same_weights_and_masks(workers):
    first, second = workers["whole-0"], workers["whole-1"]
    assert workers["statuses"]["whole"] == [0, 0], (first, second)
    assert "error" not in first and first["digest"] == second["digest"]
    assert first["rounds"] == second["rounds"]


@pytest.mark.slow
def test_workers_prune_exactly_and_revive_nothing(workers):
    size = 64 * 300 + 300 * 100 + 100 * 10
    found = workers["whole-0"]["rounds"]
    assert [row["revived"] for row in found] == [0, 0, 0]
    for round, row in enumerate(found):
        assert abs(row["density"] - 0.8 ** round) <= 1 / size


@pytest.mark.slow
def test_worker_0_alone_writes(workers):
    assert workers["whole-0"]["writes"] == 6
    assert workers["whole-1"]["writes"] == 0
    assert workers["files"] == ["state.ticket"]


@pytest.mark.slow
def test_workers_go_on_after_one_was_killed(workers):
    assert workers["statuses"]["killed"] == [0, signal.SIGKILL]
    assert workers["first-killed-0"]["error"].startswith("UnavailableError")
    assert workers["statuses"]["again"] == [0, 0]
    for index in (0, 1):
        again, whole = workers[f"killed-{index}"], workers[f"whole-{index}"]
        assert again["digest"] == whole["digest"]
        assert again["rounds"] == whole["rounds"][-len(again["rounds"]):]
    assert workers["killed-0"]["writes"] == 3


def test_costs_on_the_page_follow_from_the_preset():
    code = re.search(r"```python\n(from tf_lottery.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(code.group(1), names)
    table = re.findall(r"^\| ([\d,]+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(table) == 3
    for rate, row in table:
        rate = float(rate.replace(",", ""))
        expected = [names["hours_alone"](rate)]
        expected += [names["hours"](rate, g) for g in (None, 100, 25, 10)]
        assert row.split(" | ") == [f"{value:.1f}" for value in expected]
    for figure in (
        f"{names['steps']:,} in all",
        f"{names['images'] / 1e6:.1f} million",
        f"{names['sent'] / 1e6:.0f} MB a step",
        f"{names['disk'] / 1e6:.0f} MB for a run",
        f"{names['state'] / 1e6:.0f} MB each",
        f"{names['ticket'] / 1e6:.0f} MB. ",
    ):
        assert figure in PAGE.replace("\n", " "), figure
    total = names["sent"] * names["steps"] / 1e12
    assert f"{total:.0f} TB" in PAGE.replace("\n", " ")


@pytest.mark.slow
def test_sizes_on_the_page_are_those_of_resnet_50():
    model = imagenet.resnet_50()

    def size(variables):
        return sum(math.prod(variable.shape) for variable in variables)

    assert size(model.variables) == 25_636_712
    assert size(model.trainable_variables) == 25_583_592
    assert size(tfl.weights.prunable(model).values()) == 25_502_912
