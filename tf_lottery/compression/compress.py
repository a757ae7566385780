"""`compress`: measure, allocate, prune, recover, export, choose."""

import warnings
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Literal

import keras

from tf_lottery import copies
from tf_lottery import files
from tf_lottery import holding
from tf_lottery.compression import arguments
from tf_lottery.compression import candidates as candidates_lib
from tf_lottery.compression import channels
from tf_lottery.compression import costs
from tf_lottery.compression import places
from tf_lottery.compression import recovery
from tf_lottery.compression import result as result_lib
from tf_lottery.compression import space as space_lib
from tf_lottery.compression import weights as weights_lib
from tf_lottery.export import children
from tf_lottery.export import metrics
from tf_lottery.export import targets
from tf_lottery.search import samples as samples_lib
from tf_lottery.search import secant
from tf_lottery.utils import types

# Examples that int8 ranges are taken of.
_RANGES = 300


def compress(
    model: keras.Model,
    train: types.Data,
    validation: types.Data,
    target: str | targets.Target = "size",
    max_drop: float | None = None,
    budget: Mapping[str, float | str] | None = None,
    *,
    minimize: Literal["flash", "cycles", "latency_ms"] | None = None,
    metric: str | keras.metrics.Metric | Callable[..., float] | None = None,
    quantize: Literal["float16", "dynamic", "int8"] | None = "int8",
    epochs: int = 0,
    teacher: keras.Model | Literal["self"] | None = "self",
    exclude: types.Names = (),
    include: types.Names = (),
    samples: int = 1024,
    candidates: int = 8,
    batch_size: int = 128,
    seed: int = 0,
    directory: types.Path | None = None,
    progress: Callable[[str], Any] | None = None,
) -> result_lib.CompressionResult:
    """Finds the smallest verified file within a given loss of accuracy.

    Each weight, or group of channels, is removed to every degree by itself,
    with what stays refit by least squares; what the model's outputs change by
    then, and what it costs in a file, are added up. Which degrees cost least
    error for a budget is found by dynamic programming (SPDY, Frantar and
    Alistarh 2022, https://arxiv.org/abs/2201.13096; for reconstructed layers
    Frantar and Alistarh 2022, https://arxiv.org/abs/2208.11580, section 6).
    Models of a few budgets are made, their statistics of batch normalisation
    estimated anew, exported, and verified; the metric of these files on the
    validation examples decides.

    What is removed follows from what counts for the target: channels and
    single weights, in one search, for `"size"` (bytes after `gzip -9`), and
    `"flash"`, `"micro"` and the Ethos-U (bytes in flash, by Vela's estimate
    there). For `"size"` and the Ethos-U, whose files are coded, weights are
    also rounded to 6, 5, 4 or 3 bits in the end, the later ones making up for
    those before (GPTQ, Frantar et al. 2022,
    https://arxiv.org/abs/2210.17323), and stored as int8. Channels alone go
    for `"macs"` (multiplications) and `"cpu"`, `"arm"` and `"auto"`
    (milliseconds, measured here; the search counts multiplications). On an
    Ethos-U Vela's cycles or milliseconds can count instead: the search adds
    up what each operator of the file of the whole model takes, in proportion
    to what is left of its multiplications, and of the bytes it waits for.

    Args:
        model: A built `keras.Model`, trained. It is left as it is. Weights
            that are pruned stay pruned.
        train: Arrays `(x, y)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset`: to calibrate on, and to train on.
        validation: The same, to choose on; weights of samples do not count.
            Measure what was chosen on others.
        target: String, `"macs"`, one of `export.targets.TARGETS` or the name
            of an accelerator such as `"ethos-u55-128"`; or an
            `export.targets.Target`. Defaults to `"size"`.
        max_drop: Float, by how much the metric of the file may be worse than
            the model's. Defaults to 0.01, one point of accuracy, if there is
            no budget.
        budget: Dict of what counts for the target to the most it may be,
            instead: `{"size": "20 kB"}`, `{"flash": "64 KiB"}`,
            `{"macs": 1e6}`, `{"cycles": 1e5}` or `{"latency_ms": 2}`. Then
            the largest file within it is looked for. Defaults to `None`.
        minimize: String, which of these counts where the target is an
            Ethos-U: `"flash"`, `"cycles"` or `"latency_ms"`, by Vela.
            Defaults to `None`, the one of `budget`, or `"flash"`.
        metric: See `export.tflite`. Defaults to `None`, the share of right
            answers of a classifier.
        quantize: String or `None`, the data type of the files, see
            `export.tflite`. Defaults to `"int8"`.
        epochs: Integer, of training after pruning. Defaults to 0: none.
        teacher: `"self"`, or a `keras.Model` of the same outputs, whose
            outputs are learnt in training; `None` for the labels. Defaults
            to `"self"`, the model as it is.
        exclude: Layer names or patterns (`"logits"`, `"block*/conv"`) that are
            left alone. Defaults to none.
        include: Layer names or patterns of embeddings and depthwise kernels
            to prune, which are left alone otherwise. Defaults to none.
        samples: Integer, how many training examples to calibrate on. Errors
            of outputs are measured on as many of them as take 10 billion
            multiplications, and 64 at least. Defaults to 1024.
        candidates: Integer, how many files are tried at most besides that of
            the whole model. Defaults to 8.
        batch_size: Integer, of training on arrays. Defaults to 128.
        seed: Integer, of the order of training on arrays. Defaults to 0.
        directory: Path of a directory for the files. One that was killed
            resumes there, with the same bits if data and model are the same.
            Defaults to `None`, one that lasts as long as the result.
        progress: Function of a string, called before each step.

    Returns:
        A `tf_lottery.compression.CompressionResult`.

    Raises:
        ValueError: If an argument does not fit, nothing can be pruned, the
            model is quantised or cannot be copied, the metric is not finite,
            or there are too few validation examples to see `max_drop` at
            all.
        ImportError: If what the target needs is not installed.
        export.VerificationError: If the file of the whole model computes
            something else. A smaller one that does is left out.

    Warns:
        UserWarning: If no file is within `max_drop` or the budget, if the
            validation examples are too few to be sure of `max_drop`, if a
            smaller file is better than a larger one that was refused, and if
            one was left out.

    Example:

    >>> data = tfl.experiments.load("digits")
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 1)), keras.layers.Flatten(),
    ...     keras.layers.Dense(32, "relu"), keras.layers.Dense(10)])
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    >>> history = model.fit(data.x_train, data.y_train, epochs=8, verbose=0)
    >>> result = tfl.compress(
    ...     model, (data.x_train, data.y_train), (data.x_val, data.y_val),
    ...     max_drop=0.1, candidates=1)
    >>> result.met, result.chosen.cost < result.candidates[0].cost
    (True, True)
    """
    cost = costs.Cost(target, quantize, minimize, budget)
    limit = None if budget is None else cost.budget(budget)
    metric_name = metrics.Metric(metric).name
    arguments.check(
        model, max_drop, budget, epochs, teacher, samples, candidates,
        batch_size, seed, exclude, include, directory, progress,
    )
    max_drop = 0.01 if max_drop is None else max_drop
    say = progress or (lambda text: None)
    inputs = samples_lib.inputs_of(train, samples, "train", "compress(train=)")
    validation = arguments.arrays_of(validation)
    number = len(keras.tree.flatten(validation[0])[0])
    if limit is None:
        arguments.check_examples(number, max_drop)
    copy, before = copies.strip(model), holding.masks_of(model)
    samples_lib.check(copy, train=inputs, validation=validation[0])
    if epochs:
        arguments.check_teacher(copy, teacher, inputs)
    arguments.check_metric(copy, metrics.Metric(metric), validation)
    space = _space(copy, before, inputs, cost, exclude, include)
    place = places.Place(directory, copy, inputs, validation, {
        "target": str(cost.target.name), "cost": cost.name,
        "quantize": quantize, "metric": arguments.name_of(metric),
        "epochs": epochs, "teacher": arguments.name_of(teacher),
        "batch_size": batch_size, "seed": seed,
        "training": recovery.identity_of(
            copy, train, teacher
        ) if epochs else None,
        "exclude": arguments.name_of(exclude),
        "include": arguments.name_of(include), "widths": list(cost.widths),
    })
    with place.locked(), children.kept():
        made = candidates_lib.Candidates(
            place, space,
            lambda dense: place.tables(
                lambda: space.measure(say, *cost.shares(dense))
            ), cost,
            recovery.Recovery(
                copy, train, inputs, epochs,
                copy if isinstance(teacher, str) else teacher, batch_size,
                seed,
            ),
            keras.tree.map_structure(lambda a: a[:_RANGES], inputs),
            validation, metric, say,
        )
        if limit is None:
            chosen = _within_drop(made, max_drop, candidates)
        else:
            chosen = _within_budget(made, limit, candidates)
        found = result_lib.CompressionResult(
            model=made.model(chosen), name=model.name, cost=cost,
            metric_name=metric_name, reference=made.reference,
            examples=number, max_drop=max_drop if limit is None else None,
            budget=limit, number=chosen,
            candidates=tuple(made.found[n] for n in sorted(made.found)),
            failed=made.failed, skipped=space.skipped | cost.left_alone(
                made.rest / made[0].cost
            ), rest=made.rest, place=place,
            least=space.least if cost.is_priced or not cost.is_timed else {},
            groups=tuple(space.groups),
        )
        for note in found.caveats():
            warnings.warn(note, stacklevel=2)
        files.write_text(place.path / "result.json", found.to_json(1))
    return found


def _space(model, before, inputs, cost, exclude, include):
    """Returns all that is worth removing."""
    weights = found = None
    skipped = {}
    if cost.zeros_pay:
        weights = weights_lib.Weights(
            model, before, cost.nbytes, exclude, include, cost.widths
        )
    try:
        found = channels.Channels(model, exclude, cost.round_to)
    except ValueError as error:
        if weights is None:
            raise
        skipped = {"channels": str(error)}
    made = space_lib.Space(model, inputs, found, weights)
    made.skipped |= skipped
    return made


def _within_drop(made, max_drop, most):
    """Returns the number of the smallest candidate that loses little."""
    found = secant.last_within(
        made.drop, max_drop, max(1, made.last // 2), made.last, most,
    )
    # A look beyond the first one that does not hold: noise has no order.
    tried = len(made.found) + len(made.failed)
    if tried <= most and found + 2 <= made.last:
        made.drop(found + 2)
    # Of several that hold, the cheapest; where none does, the best.
    within = [c for c in made.found.values() if c.drop <= max_drop]
    if not within:
        return min(made.found.values(), key=lambda c: c.drop).number
    return min(within, key=lambda c: c.cost).number


def _within_budget(made, limit, most):
    """Returns the number of the best candidate within a budget."""
    if made[0].cost > limit:
        secant.last_within(
            lambda number: limit / made.cost(number), 1.0,
            made.number_for(limit), made.last, most,
        )
    within = [c for c in made.found.values() if c.cost <= limit]
    if not within:
        return min(made.found.values(), key=lambda c: c.cost).number
    return min(within, key=lambda c: (c.drop, c.cost)).number
