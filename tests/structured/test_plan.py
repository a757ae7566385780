"""Planning: scores against slow NumPy, budgets, rounding, plans as data."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import layers

from tf_lottery import criteria
from tf_lottery import graph as graph_lib
from tf_lottery import structured
from tf_lottery import weights
from tf_lottery.structured import latency


def dense():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", name="a"),
            layers.Dense(12, "relu", name="b"),
            layers.Dense(3, name="logits"),
        ]
    )


def residual():
    """A stream of 16 that two layers make, one inside of 24, and a stem."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(24, 3, padding="same", use_bias=False, name="inner")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(16, 3, padding="same", name="outer")(y)
    x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def branches():
    """A wide stream to which the concatenation of two branches is added."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(24, 1, name="stream")(inputs)
    small = layers.Conv2D(8, 1, name="small")(inputs)
    large = layers.Conv2D(16, 1, name="large")(inputs)
    y = layers.Concatenate()([small, large])
    x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def value(model, key):
    variable = weights.variables(model)[key]
    return np.asarray(keras.ops.convert_to_numpy(variable), "float64")


def kept_of(plan, name):
    return {g.name: g.kept for g in plan.groups}[name]


def test_counts_by_hand():
    graph = graph_lib.trace(residual())
    assert {g.name: len(g) for g in graph.groups} == {"stem": 16, "inner": 24}


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
def test_magnitude_of_a_group_is_the_mean_over_its_members(norm):
    model = residual()
    power = 1 if norm == "l1" else 2
    found = structured.score(graph_lib.trace(model), norm=norm)
    ids = graph_lib.trace(model).groups[0].classes
    stem, inner = value(model, "stem/kernel"), value(model, "inner/kernel")
    outer, logits = value(model, "outer/kernel"), value(model, "logits/kernel")
    expected = [
        np.mean(
            [
                (np.abs(w) ** power).sum()
                for w in (
                    stem[..., i], inner[:, :, i], outer[..., i], logits[i]
                )
            ]
        )
        for i in range(16)
    ]
    np.testing.assert_allclose(found[ids], expected, rtol=1e-6)


def test_fpgm_is_the_sum_of_distances():
    model = dense()
    graph = graph_lib.trace(model)
    kernel = value(model, "a/kernel")
    expected = [
        sum(np.linalg.norm(kernel[:, i] - kernel[:, j]) for j in range(8))
        for i in range(8)
    ]
    found = structured.score(graph, "fpgm")[graph.groups[0].classes]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_bn_scale_spares_what_it_cannot_judge():
    model = residual()
    model.get_layer("norm").gamma.assign(np.arange(24.0) - 12)
    plan = structured.plan(model, ratio=0.5, criterion="bn_scale")
    assert kept_of(plan, "stem") == list(range(16))
    # |gamma| is 12 ... 0 ... 11; the lower index of a tie comes first.
    assert kept_of(plan, "inner") == [*range(6), *range(18, 24)] or len(
        kept_of(plan, "inner")
    ) == 12
    assert min(
        abs(i - 12) for i in kept_of(plan, "inner")
    ) >= max(
        abs(i - 12) for i in set(range(24)) - set(kept_of(plan, "inner"))
    )
    assert any("bn_scale" in entry["reason"] for entry in plan.frozen)
    with pytest.raises(ValueError, match="BatchNormalization"):
        structured.plan(dense(), ratio=0.5, criterion="bn_scale")


@pytest.mark.parametrize(
    "criterion, norm, of_slice",
    [
        ("taylor", None, lambda scores, axis: np.abs(scores).sum(axis)),
        (
            criteria.Taylor("signed"), "joint",
            lambda scores, axis: scores.sum(axis) ** 2,
        ),
    ],
)
def test_taylor_is_weight_times_gradient(criterion, norm, of_slice):
    model = dense()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 6)).astype("float32")
    y = rng.normal(size=(16, 3)).astype("float32")
    graph = graph_lib.trace(model)
    found = structured.score(
        graph, criterion, data=(x, y), loss="mse", norm=norm
    )
    # By hand: backpropagation of the mean squared error.
    a, b = value(model, "a/kernel"), value(model, "b/kernel")
    c = value(model, "logits/kernel")
    h1 = np.maximum(x @ a, 0)
    h2 = np.maximum(h1 @ b, 0)
    d3 = 2 * (h2 @ c - y) / y.size
    d2 = (d3 @ c.T) * (h2 > 0)
    d1 = (d2 @ b.T) * (h1 > 0)
    of_a, of_b = a * (x.T @ d1), b * (h1.T @ d2)
    expected = (of_slice(of_a, 0) + of_slice(of_b, 1)) / 2
    np.testing.assert_allclose(
        found[graph.groups[0].classes], expected, rtol=1e-3
    )
    with pytest.raises(ValueError, match="needs data"):
        structured.plan(model, ratio=0.5, criterion="taylor")


@pytest.mark.parametrize("name", [c.name for c in criteria.ALL_CRITERIA])
def test_every_criterion_plans(name):
    """The scores of weights are those of `criteria.score`."""
    inputs = keras.Input((6,))
    x = layers.Dense(8, use_bias=False, name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    model.compile("sgd", "mse")
    model.layers[2].gamma.assign(np.arange(8.0))
    rng = np.random.default_rng(0)
    start = {"a/kernel": rng.normal(size=(6, 8)),
             "logits/kernel": rng.normal(size=(8, 3))}
    needed = {"data": (rng.normal(size=(16, 6)), rng.normal(size=(16, 3))),
              "snapshot": start}
    plan = structured.plan(
        model, ratio=0.5, criterion=name, norm="l1", **needed
    )
    if name in ("random", "bn_scale", "fpgm"):
        assert len(kept_of(plan, "a")) == 4
        return
    scores = criteria.score(model, name, **needed)
    units = scores["a/kernel"].sum(0) + scores["logits/kernel"].sum(1)
    assert kept_of(plan, "a") == sorted(np.argsort(-units)[:4].tolist())


def test_norms_are_checked():
    with pytest.raises(ValueError, match="`norm` must be.*'l2'.*'linf'"):
        structured.plan(dense(), ratio=0.5, norm="linf")
    with pytest.raises(ValueError, match="not negative.*'small_final'"):
        structured.plan(dense(), ratio=0.5, criterion="small_final", norm="l2")


def test_a_callable_and_masks():
    model = dense()

    def ones(model, variables):
        return {k: np.ones(v.shape) for k, v in variables.items()}

    mask = np.ones((6, 8), bool)
    mask[:, :3] = False
    plan = structured.plan(
        model, ratio=3 / 8, criterion=ones, masks={"a/kernel": mask}
    )
    assert kept_of(plan, "a") == [3, 4, 5, 6, 7]


def test_random_depends_on_the_seed():
    model = dense()
    kept = [
        kept_of(structured.plan(model, ratio=0.5, criterion=criteria.Random(s)),
                "b")
        for s in (0, 0, 1)
    ]
    assert kept[0] == kept[1] != kept[2]


def test_unknown_criterion_names_all():
    with pytest.raises(ValueError, match="fpgm.*magnitude"):
        structured.plan(dense(), ratio=0.5, criterion="nonsense")


def test_ratio_zero_keeps_everything():
    for make in (dense, residual, branches):
        plan = structured.plan(make(), ratio=0, round_to=5)
        assert plan.removed == 0
        assert plan.before == plan.after


@given(
    ratio=st.floats(0, 0.99),
    round_to=st.sampled_from([1, 2, 3, 4, 8]),
    scope=st.sampled_from(["layer", "global"]),
)
@settings(max_examples=25, deadline=None)
def test_no_producer_is_emptied_and_all_are_round(ratio, round_to, scope):
    for model in (_MODELS[make] for make in (residual, branches)):
        graph = graph_lib.trace(model)
        plan = structured.plan(
            model, ratio=ratio, round_to=round_to, scope=scope
        )
        kept = plan.kept(graph)
        for producer in graph.producers:
            mask = kept[producer.ids]
            assert mask.any()
            assert mask.all() or mask.sum() % round_to == 0


_MODELS = {make: make() for make in (residual, branches)}


def test_a_branch_survives_although_the_ranking_takes_all_of_it():
    model = branches()
    # Members of the first 8 units: stream, small and logits.
    for name, part in (("stream", slice(8)), ("small", slice(8))):
        kernel = model.get_layer(name).kernel
        scaled = np.array(keras.ops.convert_to_numpy(kernel))
        scaled[..., part] *= 1e-6
        kernel.assign(scaled)
    logits = model.get_layer("logits").kernel
    scaled = np.array(keras.ops.convert_to_numpy(logits))
    scaled[:8] *= 1e-6
    logits.assign(scaled)
    plan = structured.plan(model, ratio=0.5)
    small = structured.shrink(model, plan)
    assert small.get_layer("small").filters == 1
    assert small.get_layer("large").filters >= 12


def test_global_scope_takes_from_the_weaker_group():
    model = dense()
    for key in ("a/kernel", "b/kernel"):
        weights.variables(model)[key].assign(
            np.abs(value(model, key)) + 1.0
        )
    kernel = value(model, "b/kernel")
    kernel[:, :6] *= 1e-3
    weights.variables(model)["b/kernel"].assign(kernel)
    plan = structured.plan(model, ratio=6 / 20, scope="global")
    assert kept_of(plan, "a") == list(range(8))
    assert kept_of(plan, "b") == list(range(6, 12))


@pytest.mark.some(3)
@pytest.mark.parametrize("budget", ["params", "macs", "bytes"])
@pytest.mark.parametrize("target", [0.3, 0.75, 1.0])
def test_budgets_are_met_and_not_by_far(budget, target):
    model = residual()
    plan = structured.plan(model, **{budget: target})
    limit = target * plan.before[budget]
    assert plan.after[budget] <= limit
    # One step less of the ratio would not do.
    better = [
        structured.plan(model, ratio=r).after[budget]
        for r in np.linspace(0, 0.95, 39)
    ]
    assert plan.after[budget] >= max(n for n in better if n <= limit)
    absolute = structured.plan(model, **{budget: plan.after[budget]})
    assert absolute.after == plan.after


def test_budgets_agree_with_the_small_model():
    model = residual()
    plan = structured.plan(model, params=0.5)
    small = structured.shrink(model, plan)
    assert small.count_params() == plan.after["params"]
    again = structured.plan(small, ratio=0)
    for name in ("params", "macs", "bytes"):
        assert again.before[name] == plan.after[name]


def test_macs_by_hand():
    expected = 64 * 9 * (3 * 16 + 16 * 24 + 24 * 16) + 16 * 3
    assert structured.plan(residual(), ratio=0).before["macs"] == expected


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (layers.Conv1D(4, 3, groups=2), (10, 6), 8 * 3 * 3 * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), 36 * 72),
        (layers.SeparableConv2D(5, 3), (8, 8, 4), 36 * (36 + 20)),
        (layers.Conv2DTranspose(5, 3, 2), (4, 4, 2), 16 * 9 * 10),
        (layers.Conv3D(2, 2), (3, 3, 3, 2), 8 * 8 * 4),
        (layers.LSTM(4), (7, 3), 7 * (3 * 16 + 4 * 16)),
        (layers.GRU(4, return_sequences=True), (7, 3), 7 * (36 + 48)),
        (layers.Bidirectional(layers.SimpleRNN(4)), (7, 3), 2 * 7 * 28),
        (layers.TimeDistributed(layers.Dense(4)), (7, 3), 7 * 12),
        (layers.EinsumDense("abc,cd->abd", (None, 5)), (7, 3), 7 * 15),
        (layers.BatchNormalization(), (7, 3), 0),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_macs_of_layers(layer, shape, expected):
    model = keras.Sequential([keras.Input(shape), layer])
    assert structured.plan(model, ratio=0).before["macs"] == expected


def test_macs_of_attention():
    inputs = keras.Input((7, 6))
    x = layers.MultiHeadAttention(2, 4, value_dim=3)(inputs, inputs)
    found = structured.plan(keras.Model(inputs, x), ratio=0).before["macs"]
    projections = 7 * 6 * (8 + 8 + 6) + 7 * 6 * 6
    assert found == projections + 49 * 2 * (4 + 3)


def test_an_impossible_budget_says_what_is_possible():
    with pytest.raises(ValueError, match="cannot be met"):
        structured.plan(dense(), params=3)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({}, "Exactly one"),
        ({"ratio": 0.5, "macs": 0.5}, "Exactly one"),
        ({"ratio": 1.0}, "ratio"),
        ({"ratio": "half"}, "ratio"),
        ({"macs": 0}, "macs"),
        ({"ratio": 0.5, "scope": "group"}, "scope"),
        ({"ratio": 0.5, "round_to": 0}, "round_to"),
        ({"ratio": 0.5, "exclude": "nowhere"}, "nowhere"),
    ],
)
def test_invalid_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        structured.plan(dense(), **arguments)


def test_excluded_layers_keep_their_units():
    plan = structured.plan(dense(), ratio=0.5, exclude=["a"])
    assert kept_of(plan, "a") == list(range(8))
    assert len(kept_of(plan, "b")) == 6
    assert {"path": "a", "role": "units", "units": 8, "reason": "excluded"} in (
        plan.frozen
    )


def test_a_plan_is_data():
    plan = structured.plan(residual(), ratio=0.5, round_to=4)
    text = plan.to_json()
    again = structured.Plan.from_json(text)
    assert again == plan
    assert again.to_json() == text
    # Another seed, another process's names: the same architecture.
    other = residual()
    small = structured.shrink(other, again)
    assert small.count_params() == plan.after["params"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "x", "version": 1, "groups": []}']
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match="no plan"):
        structured.Plan.from_json(text)


def test_a_plan_by_latency_is_read_again():
    plan = structured.plan(dense(), ratio=0.5)
    plan = dataclasses.replace(
        plan,
        before=plan.before | {"latency_ms": 2.0},
        after=plan.after | {"latency_ms": 1.5},
        arguments=plan.arguments | {"latency_ms": 1.6},
    )
    assert structured.Plan.from_json(plan.to_json()) == plan


def test_a_newer_plan_is_refused():
    fields = json.loads(structured.plan(dense(), ratio=0.5).to_json())
    fields["version"] = 99
    with pytest.raises(ValueError, match="version=99"):
        structured.Plan.from_json(json.dumps(fields))


def test_a_plan_for_another_architecture_is_refused():
    plan = structured.plan(dense(), ratio=0.5)
    with pytest.raises(ValueError, match="another architecture(.|\n)*inner"):
        structured.shrink(residual(), plan)


def test_the_report_says_everything():
    report = str(structured.plan(residual(), ratio=0.5))
    for expected in (
        "stem", "stem, outer", "inner/kernel axis 3 (out)",
        "outer/kernel axis 2 (in)", "logits: 3 units: model output",
        "params", "macs", "bytes", "50.0%",
    ):
        assert expected in report


@pytest.mark.slow
def test_latency_is_measured():
    model = keras.Sequential(
        [keras.Input((256,)), layers.Dense(1024), layers.Dense(1024),
         layers.Dense(4)]
    )
    graph = graph_lib.trace(model)
    whole = latency.compare([latency.interpreter_of(graph, graph.kept())])[0]
    plan = structured.plan(model, latency_ms=0.7 * whole)
    assert plan.after["latency_ms"] <= 0.7 * whole
    assert plan.after["params"] < plan.before["params"]
    with pytest.raises(ValueError, match="latency_ms"):
        structured.plan(model, latency_ms=1e-7)


def test_planning_leaves_the_model_alone():
    model = residual()
    before = [np.array(w) for w in model.get_weights()]
    structured.plan(model, macs=0.5)
    for a, b in itertools.zip_longest(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_what_is_timed_has_the_weights_of_the_model():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(8, 3, name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="logits"),
        ]
    )
    graph = graph_lib.trace(model)
    interpreter = latency.interpreter_of(graph, graph.kept())
    interpreter.invoke()
    detail = interpreter.get_input_details()[0]
    inputs = interpreter.get_tensor(detail["index"])
    outputs = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"]
    )
    np.testing.assert_allclose(outputs, model(inputs), rtol=1e-4, atol=1e-6)


def blocks():
    """Two like blocks and another; the second has the larger weights."""
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="stem")(inputs)
    for name, width in (("a", 8), ("b", 8), ("c", 4)):
        y = layers.Dense(width, "relu", name=f"{name}_up")(x)
        x = x + layers.Dense(6, name=f"{name}_down")(y)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    for name in ("b_up", "b_down"):
        kernel = model.get_layer(name).kernel
        kernel.assign(10 * kernel)
    return model


def kept(**options):
    plan = structured.plan(blocks(), **options)
    return {group.name: len(group.kept) for group in plan.groups}


def test_like_groups_are_ranked_together():
    # All of the worse block but the one unit that every layer keeps.
    found = kept(ratio=0.5, scope="isomorphic")
    assert found == {"stem": 3, "a_up": 1, "b_up": 8, "c_up": 2}
    assert kept(ratio=0.5)["b_up"] == 4


def test_ratios_by_group():
    found = kept(ratio={"*_up": 0.5, "b_up": 0.25})
    assert found == {"stem": 6, "a_up": 4, "b_up": 6, "c_up": 2}


@pytest.mark.parametrize("scope", ["global", "layer", "isomorphic"])
def test_no_group_loses_more_than_its_most(scope):
    found = kept(ratio=0.8, scope=scope, max_ratio={"*_up": 0.4, "stem": 0.0})
    assert found["stem"] == 6
    # Floors of 0.4 times 8 and 4.
    assert min(found["a_up"], found["b_up"]) == 5 and found["c_up"] == 3


def test_rounding_removes_no_more_than_the_most():
    found = kept(ratio=0.8, max_ratio=0.4, round_to=3)
    assert found == {"stem": 6, "a_up": 6, "b_up": 6, "c_up": 3}


def test_a_budget_is_met_within_the_most():
    model = blocks()
    plan = structured.plan(model, params=0.7, max_ratio=0.5)
    assert plan.after["params"] <= 0.7 * model.count_params()
    with pytest.raises(ValueError, match="`params` cannot be met"):
        structured.plan(model, params=0.1, max_ratio=0.5)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"ratio": {"*": 1.0}}, "`ratio` must be a float in"),
        ({"ratio": {"nowhere": 0.5}}, "nowhere"),
        ({"ratio": {"*": 0.5}, "scope": "global"}, "takes `scope='layer'`"),
        ({"ratio": 0.5, "max_ratio": 1.5}, "`max_ratio` must be a float in"),
        ({"ratio": 0.5, "max_ratio": {"nowhere": 0.5}}, "nowhere"),
    ],
)
def test_ratios_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        structured.plan(blocks(), **arguments)
