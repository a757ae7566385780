"""Wrong arguments of every public callable: refused, in a sentence."""

import contextlib
import functools
import inspect
import os
import signal
import tempfile
import traceback
import types
import warnings

import keras
import numpy as np
import pytest

import tf_lottery as tfl
import tf_lottery.experiments
from tf_lottery.report import charts

SECONDS = 20


def no_argument():
    """A function that cannot be called with what it will be given."""


BAD = {
    "none": None,
    "empty string": "",
    "unknown name": "unknown-name",
    "null character": "a\0b",
    "bytes": b"",
    "negative": -1,
    "zero": 0,
    "fraction": 1.5,
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**30,
    "true": True,
    "list": [],
    "list of none": [None],
    "dict": {},
    "dict of objects": {"unknown-name": object()},
    "object": object(),
    "array of nan": np.array([np.nan, 1.0]),
    "array of strings": np.array(["a"]),
    "wrong shape": np.zeros((2, 3, 5), "float32"),
    "function": no_argument,
    "class": int,
}


def pre_norm():
    """A model whose layer normalisation can lose its mean."""
    inputs = keras.Input((4,))
    stream = keras.layers.Dense(8)(inputs)
    normed = keras.layers.LayerNormalization()(stream)
    return keras.Model(inputs, keras.layers.Dense(3)(normed))


# What the library makes, and nobody else: results, and parts of graphs.
RECORDS = {
    "compression.Candidate",
    "compression.CompressionResult",
    "compression.Reading",
    "compression.Sensitivity",
    "criteria.Context",
    "data.Batch",
    "experiments.Data",
    "export.Benchmark",
    "export.OnnxReport",
    "export.Report",
    "graph.Binding",
    "graph.ConfigEdit",
    "graph.Frozen",
    "graph.Graph",
    "graph.Group",
    "graph.Producer",
    "graph.Scale",
    "structured.Costs",
    "structured.Plan",
    "structured.Proof",
    "tuner.Report",
    "tuner.TicketObjective",
    "weights.Weight",
}
# What modules of the package say to each other; guides name none of it.
BETWEEN_MODULES = {
    "constraints",
    "distributions.share",
    "holding.agree",
    "holding.aside",
    "holding.check_masks",
    "holding.hold_known",
    "holding.hold_shared",
    "holding.let_go",
    "holding.on_compile",
    "holding.place",
    "holding.settle",
    "holding.synchronise",
    "masks.brief",
    "quantize.check_trained",
    "quantize.frozen",
    "optimizers.attach",
    "optimizers.awaits_masks",
    "optimizers.check_compiled",
    "optimizers.detach",
    "optimizers.find",
    "optimizers.initial_values",
    "optimizers.innermost",
    "optimizers.leaves",
    "optimizers.name_of",
    "optimizers.project",
    "optimizers.reset",
    "optimizers.rewind_schedule",
    "optimizers.slots_of",
    "optimizers.state",
    "schedules.check_patterns",
    "schedules.match",
    "schedules.matches",
    "schedules.validate_rate",
    "weights.check_layer",
    "weights.check_built",
    "weights.check_masks",
    "weights.is_seed",
    "weights.prunable_of",
    "weights.resolve",
}
METHODS = {
    "schedules.Point": ("parse", "to_step"),
    "Ticket": ("of", "apply", "save", "load", "check_fits"),
}


class World:
    """A small model and all that belongs to it, made once."""

    def __init__(self, directory):
        self.directory = str(directory)
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8,), name="in")
        x = keras.layers.Dense(6, "relu", name="fc1")(inputs)
        x = keras.layers.Dense(4, "relu", name="fc2")(x)
        self.model = keras.Model(
            inputs, keras.layers.Dense(3, name="logits")(x), name="net"
        )
        self.loss = keras.losses.SparseCategoricalCrossentropy(True)
        self.model.compile("sgd", self.loss, metrics=["accuracy"])
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(12, 8)).astype("float32")
        self.y = np.arange(12) % 3
        self.data = (self.x, self.y)
        self.scores = {"fc1/kernel": rng.normal(size=(8, 6))}
        self.masks = {"fc1/kernel": self.scores["fc1/kernel"] > 0}
        self.ticket = tfl.Ticket.of(self.model, self.masks)
        self.weights = self.model.get_weights()
        self.plan = tfl.structured.plan(self.model, ratio=0.5)

    def path(self, name):
        """A path in a directory of the test's."""
        return f"{self.directory}/{name}"

    def saved(self, name, save):
        """The path of a file that is written once."""
        path = self.path(name)
        if not os.path.exists(path):
            save(path)
        return path

    @functools.cache
    def run(self):
        """The directory of a run of one round."""
        path = self.path("run")
        directory = tfl.runs.run_directory.RunDirectory(path)
        directory.open({"rounds": 1})
        directory.save_results([tfl.runs.results.RoundResult(
            0, 1.0, {"fc1/kernel": 1.0}, {"accuracy": 0.75}, 8, None, 0.1
        )])
        directory.close()
        return path

    @functools.cache
    def chart(self):
        rows = [{"series": "a", "x": 100.0, "y": 1.0}]
        return charts.lines("Title", "density", "y", rows, "density")

    @functools.cache
    def small(self):
        return tfl.structured.shrink(self.model, self.plan)

    @functools.cache
    def compacted(self):
        return tfl.structured.compact(self.model, self.masks)

    def hypermodel(self):
        return tfl.tuner.TicketHyperModel(build, rounds=1)

    def preset(self):
        return tfl.experiments.preset("lenet-digits")

    def reset(self):
        """Sets back what a call that was accepted has changed."""
        tfl.holding.let_go(self.model)
        self.model.set_weights(self.weights)


def build(hp):
    """A function that makes models, which is never called."""


# A good call of each: what it takes besides its defaults. A public callable
# that is not here fails the test.
_MODEL = lambda w: {"model": w.model}  # noqa: E731
_NOTHING = lambda w: {}  # noqa: E731
_TICKET = lambda w: {"ticket": w.ticket}  # noqa: E731
_MASKS = lambda w: {"masks": w.masks}  # noqa: E731
_TWO = lambda w: {"a": w.masks, "b": w.masks}  # noqa: E731
_DATA = lambda w: {"data": w.data, "loss": "mse"}  # noqa: E731
_INPUTS = lambda w: {"data": w.data}  # noqa: E731
_COMPRESSED = lambda w: {  # noqa: E731
    "model": w.model, "train": w.data, "validation": w.data, "max_drop": 0.5,
}


def _tuner(w):
    return {
        "hypermodel": w.hypermodel(), "directory": tempfile.mkdtemp(),
        "overwrite": True,
    }


GOOD = {
    "IterativeMagnitudePruning": _NOTHING,
    "Ticket": lambda w: {"masks": w.masks, "snapshot": w.ticket.snapshot},
    "Ticket.of": _MODEL,
    "Ticket.apply": lambda w: {"self": w.ticket, "model": w.model},
    "Ticket.check_fits": lambda w: {"self": w.ticket, "model": w.model},
    "Ticket.save": lambda w: {"self": w.ticket, "path": w.path("t")},
    "Ticket.load": lambda w: {"path": w.saved("t.ticket", w.ticket.save)},
    "cluster": _MODEL,
    "compress": _COMPRESSED,
    "hold": lambda w: {"model": w.model, "masks": w.masks},
    "load_model": lambda w: {
        "filepath": w.saved("m.keras", w.model.save)
    },
    "load_weights": lambda w: {
        "model": w.model,
        "filepath": w.saved("m.weights.h5", w.model.save_weights),
    },
    "masks_of": _MODEL,
    "prune": lambda w: {"model": w.model, "sparsity": 0.5},
    "recalibrate": lambda w: {"model": w.model, "data": w.data},
    "sensitivity": lambda w: {
        "model": w.model, "data": w.data, "sparsities": [0.5]
    },
    "strip": _MODEL,
    "summary": _MODEL,
    "analysis.BarrierRate": lambda w: {},
    "analysis.ErrorBarrier": lambda w: {"data": w.data},
    "analysis.capacity": lambda w: {
        "tickets": [w.ticket], "model": w.model, "x": w.x, "epochs": 1,
        "seeds": (0,),
    },
    "analysis.curves": lambda w: {"directories": [w.run()]},
    "analysis.effective_density": _MODEL,
    "analysis.expected_overlap": _TWO,
    "analysis.generalization_gap": lambda w: {
        "model": w.model, "train": w.data, "test": w.data
    },
    "analysis.layer_densities": lambda w: {"tickets": [w.ticket]},
    "analysis.linear_connectivity": lambda w: {
        "model": w.model, "a": w.ticket, "b": w.ticket, "data": w.data,
        "points": 2,
    },
    "analysis.mask_overlap": lambda w: {"tickets": [w.ticket, w.ticket]},
    "analysis.recalibrate": lambda w: {"model": w.model, "data": w.data},
    "analysis.report": lambda w: {"directory": w.run()},
    "analysis.robustness": lambda w: {
        "model": w.model, "data": w.data, "epsilons": (0.1,), "steps": 1
    },
    "analysis.save_plot": lambda w: {
        "chart": w.chart(), "path": w.path("c.svg")
    },
    "analysis.stability": lambda w: {"a": w.ticket, "b": w.ticket},
    "analysis.weight_movement": lambda w: {
        "start": w.ticket, "end": w.ticket, "masks": w.ticket
    },
    "callbacks.DynamicSparseTraining": lambda w: {"sparsity": 0.5},
    "callbacks.EarlyBird": lambda w: {"rate": 0.5},
    "callbacks.GradualPruning": lambda w: {
        "schedule": tfl.sparsity_schedules.ConstantSparsity(0.5, 0)
    },
    "callbacks.IterativeMagnitudePruning": _NOTHING,
    "callbacks.SparsityBoard": _NOTHING,
    "controls.constant": _TICKET,
    "controls.random_masks": _TICKET,
    "controls.random_reinitialize": lambda w: {
        "ticket": w.ticket, "model": w.model
    },
    "controls.reshuffle": _TICKET,
    "controls.shuffle_masks": _TICKET,
    "compression.compress": _COMPRESSED,
    "compression.sensitivity": lambda w: {
        "model": w.model, "data": w.data, "sparsities": [0.5]
    },
    "criteria.BatchNormScale": _NOTHING,
    "criteria.Criterion": _NOTHING,
    "criteria.FPGM": _NOTHING,
    "criteria.FunctionCriterion": lambda w: {"function": lambda m, v: v},
    "criteria.GraSP": _DATA,
    "criteria.LAMP": _NOTHING,
    "criteria.LargeFinal": _NOTHING,
    "criteria.LargeInit": _NOTHING,
    "criteria.LargeInitLargeFinal": _NOTHING,
    "criteria.Lookahead": _NOTHING,
    "criteria.Magnitude": _NOTHING,
    "criteria.MagnitudeIncrease": _NOTHING,
    "criteria.Movement": _NOTHING,
    "criteria.OBC": _INPUTS,
    "criteria.OBD": _DATA,
    "criteria.Random": _NOTHING,
    "criteria.SNIP": _DATA,
    "criteria.SmallFinal": _NOTHING,
    "criteria.SmallInit": _NOTHING,
    "criteria.SmallInitSmallFinal": _NOTHING,
    "criteria.SynFlow": _NOTHING,
    "criteria.Taylor": _DATA,
    "criteria.UnitCriterion": _NOTHING,
    "criteria.Wanda": _INPUTS,
    "criteria.WoodFisher": _DATA,
    "criteria.get": lambda w: {"identifier": "lamp"},
    "criteria.make_context": _NOTHING,
    "criteria.score": _MODEL,
    "data.Replay": lambda w: {"x": w.x, "y": w.y},
    "distributions.check_scope": lambda w: {"scope": "erk"},
    "distributions.distribute": lambda w: {
        "shapes": {"a": (4, 3), "b": (2, 2)}, "keep": 8, "how": "erk"
    },
    "export.benchmark": lambda w: {"files": {"a": w.path("no.tflite")}},
    "export.explicit_padding": _MODEL,
    "export.inspect": lambda w: {"source": w.path("no.tflite")},
    "export.installed": _NOTHING,
    "export.onnx": lambda w: {"model": w.model, "path": w.path("m.onnx")},
    "export.tflite": lambda w: {"model": w.model, "path": w.path("m.tflite")},
    "graph.channel_readers": _MODEL,
    "graph.channel_units": _MODEL,
    "graph.register_rule": lambda w: {},
    "graph.trace": _MODEL,
    "holding.capture": lambda w: {"model": w.model, "step": 0},
    "holding.hold": lambda w: {"model": w.model, "masks": w.masks},
    "holding.masks_of": _MODEL,
    "holding.rewind": lambda w: {
        "model": w.model, "snapshot": tfl.holding.capture(w.model, 0)
    },
    "holding.strip": _MODEL,
    "interop.from_tfmot": lambda w: {
        "path": w.saved("tfmot.keras", w.model.save)
    },
    "layers.Masked": lambda w: {"layer": keras.layers.Dense(2)},
    "layers.unwrap": _MODEL,
    "layers.wrap": _MODEL,
    "masks.Layout": lambda w: {"inputs": (0,), "outputs": (1,)},
    "masks.Unstructured": _NOTHING,
    "masks.count": _MASKS,
    "masks.densities": _MASKS,
    "masks.density": _MASKS,
    "masks.distance": _TWO,
    "masks.get_pattern": lambda w: {"identifier": "2:4"},
    "masks.nested": lambda w: {"inner": w.masks, "outer": w.masks},
    "masks.ones": lambda w: {"shapes": {"a": (2, 3)}},
    "masks.overlap": _TWO,
    "masks.pack": lambda w: {"mask": w.masks["fc1/kernel"]},
    "masks.select": lambda w: {"scores": w.scores, "keep": 3},
    "masks.shuffle": lambda w: {"masks": w.masks, "seed": 0},
    "masks.size": _MASKS,
    "masks.unpack": lambda w: {"data": b"\x01", "shape": (2, 2)},
    "optimizers.Masked": lambda w: {
        "inner_optimizer": keras.optimizers.SGD()
    },
    "paths.collapsed": _MASKS,
    "paths.effective_densities": _MODEL,
    "paths.effective_density": _MODEL,
    "paths.effective_masks": _MODEL,
    "paths.why_dead": _MODEL,
    "patterns.Block": _NOTHING,
    "patterns.Channel": _NOTHING,
    "patterns.NM": _NOTHING,
    "patterns.Unstructured": _NOTHING,
    "patterns.get_pattern": lambda w: {"identifier": "2:4"},
    "quantize.FakeQuantize": _NOTHING,
    "quantize.Quantized": lambda w: {"layer": keras.layers.Dense(2)},
    "quantize.aware": _MODEL,
    "quantize.cluster": _MODEL,
    "quantize.is_aware": _MODEL,
    "schedules.Point": lambda w: {"steps": 5},
    "schedules.Point.parse": lambda w: {"value": "5it"},
    "schedules.Point.to_step": lambda w: {
        "self": tfl.schedules.Point(1, 5), "steps_per_epoch": 10, "epochs": 3
    },
    "sparsity_schedules.ConstantSparsity": lambda w: {
        "target_sparsity": 0.5, "begin_step": 1
    },
    "sparsity_schedules.OneCycle": lambda w: {
        "final_sparsity": 0.5, "end_step": 9
    },
    "sparsity_schedules.PolynomialDecay": lambda w: {
        "final_sparsity": 0.5, "end_step": 9
    },
    "sparsity_schedules.SparsitySchedule": lambda w: {
        "begin_step": 1, "end_step": 9
    },
    "sparsity_schedules.get": lambda w: {
        "schedule": tfl.sparsity_schedules.ConstantSparsity(0.5, 0)
    },
    "structured.centre": lambda w: {"model": pre_norm()},
    "structured.compact": lambda w: {"model": w.model, "masks": w.masks},
    "structured.compact_ticket": lambda w: {
        "ticket": w.ticket, "model": w.model
    },
    "structured.plan": lambda w: {"model": w.model, "ratio": 0.5},
    "structured.proof_of": lambda w: {"model": w.small()},
    "structured.register_rule": lambda w: {},
    "structured.report_of": lambda w: {"model": w.compacted()},
    "structured.score": lambda w: {"graph": tfl.graph.trace(w.model)},
    "structured.shrink": lambda w: {"model": w.model, "plan": w.plan},
    "structured.shrink_snapshot": lambda w: {
        "snapshot": w.ticket.snapshot, "model": w.model, "plan": w.plan
    },
    "structured.shrink_ticket": lambda w: {
        "ticket": w.ticket, "model": w.model, "plan": w.plan
    },
    "weights.inspect": _MODEL,
    "weights.layers": _MODEL,
    "weights.owners": _MODEL,
    "weights.prunable": _MODEL,
    "weights.variables": _MODEL,
    "tuner.BayesianOptimization": _tuner,
    "tuner.Hyperband": _tuner,
    "tuner.RandomSearch": _tuner,
    "tuner.TicketHyperModel": lambda w: {"hypermodel": build},
    "tuner.objective": lambda w: {"identifier": "density"},
    "tuner.report": lambda w: {"path": w.path("no search")},
    "tuner.sweep": lambda w: {
        "preset": w.preset(), "output_dir": w.path("sweep")
    },
    "experiments.Preset": lambda w: {
        **vars(w.preset()), "compare": w.preset().compare
    },
    "experiments.analyze": lambda w: {
        "kind": "robustness", "directory": w.run()
    },
    "experiments.compare": lambda w: {"*directories": w.run()},
    "experiments.estimate": lambda w: {"preset": w.preset()},
    "experiments.load": lambda w: {"name": "digits"},
    "experiments.preset": lambda w: {"name": w.preset().name},
    "experiments.read": lambda w: {"*directories": w.run()},
    "experiments.run": lambda w: {
        "preset": w.preset(), "output_dir": w.path("out")
    },
}
# They work for long, so that they are called only with what is refused.
HEAVY = {
    "analysis.capacity",
    "analysis.generalization_gap",
    "analysis.linear_connectivity",
    "analysis.report",
    "analysis.robustness",
    "compress",
    "compression.compress",
    "experiments.compare",
    "export.inspect",
    # Takes a file of TFMOT, which few machines can write.
    "interop.from_tfmot",
    "experiments.estimate",
    "experiments.run",
    "export.onnx",
    "export.tflite",
    "export.benchmark",
    "tuner.sweep",
    "tuner.report",
    "experiments.analyze",
}
# Layers that `structured` makes, or of arguments that Keras checks.
NOT_CALLED = RECORDS | BETWEEN_MODULES | {
    "layers.AlongBatch", "layers.MeanSquareNormalization", "layers.OwnWeight",
}
# Keras' `compile` reads them, once the file is read.
KERAS_READS = {
    ("interop.from_tfmot", "optimizer"), ("interop.from_tfmot", "metrics")
}


def public():
    """Every public callable by its name."""
    found = {}
    spaces = {"": tfl, "experiments": tfl.experiments, "tuner": tfl.tuner}
    spaces |= {
        name: value for name in tfl.__all__
        if isinstance(value := getattr(tfl, name), types.ModuleType)
    }
    for space, module in spaces.items():
        names = getattr(module, "__all__", None) or dir(module)
        for name in names:
            value = getattr(module, name)
            own = str(getattr(value, "__module__", "")).startswith("tf_lott")
            if name.startswith("_") or not own or not callable(value):
                continue
            full = f"{space}.{name}" if space else name
            if space in NOT_CALLED or full in NOT_CALLED:
                continue
            if inspect.isabstract(value) or (
                isinstance(value, type) and issubclass(value, Exception)
            ):
                continue
            found[full] = value
            for method in METHODS.get(full, ()):
                found[f"{full}.{method}"] = getattr(value, method)
    return found


@contextlib.contextmanager
def at_most(seconds):
    """Ends what takes longer."""

    def end(*_):
        raise TimeoutError(f"It took more than {seconds} s.")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# `name` is what an error calls the argument, in `schedules`.
_OURS = ("self", "name")


def parameters(function):
    """The names of a callable's arguments; with a star, of several."""
    return [
        f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is not p.VAR_KEYWORD and p.name not in _OURS
    ]


def call(function, arguments):
    """Calls with arguments by name."""
    arguments = dict(arguments)
    first = [arguments.pop("self")] if "self" in arguments else []
    for name in [name for name in arguments if name.startswith("*")]:
        first += [arguments.pop(name)]
    return function(*first, **arguments)


# What Keras says of inputs that a model does not take.
KERAS_SAYS = ("Exception encountered when calling", "is incompatible with")


def is_clear(error, argument):
    """Whether an error was raised on purpose, and says what is wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    if isinstance(error, ValueError) and f" {argument}=" in str(error):
        return True
    if any(words in str(error) for words in KERAS_SAYS):
        return True
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if "/tf_lottery/" not in frame.filename:
        return False
    kinds = (TypeError, ValueError, ImportError, OSError)
    own = type(error).__module__.startswith("tf_lottery")
    if not (own or isinstance(error, kinds)):
        return False
    words = f"`{argument.lstrip('*')}`", "Received", "Expected"
    on_purpose = frame.line.startswith("raise")
    return on_purpose and any(word in str(error) for word in words)


def outcome(function, arguments, argument):
    """How a call ends, and what it said or returned."""
    try:
        with at_most(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = call(function, arguments)
    except TimeoutError as error:
        return "hang", str(error)
    except Exception as error:
        kind = "clear" if is_clear(error, argument) else "obscure"
        return kind, f"{type(error).__name__}: {error}"
    return "accepted", type(found).__name__


# Arguments that may be these, of any callable or of one: each was looked at.
# `None` is a default, "unknown-name" a path or a name that only a model
# tells to be wrong, an empty dict no masks, and so on.
LEGITIMATE = {
    "array of nan": (
        "compare_on data recalibrate representative_data "
        "structured.compact_ticket.inputs structured.plan.inputs "
        "summary.inputs"
    ),
    "array of strings": (
        "compare_on data recalibrate representative_data "
        "structured.compact_ticket.inputs structured.plan.inputs "
        "summary.inputs"
    ),
    "class": (
        "*classes augment export.tflite.progress hypermodel round_callbacks"
    ),
    "dict": (
        "custom_objects export hparams input_shapes layouts masks metrics "
        "provenance "
        "readers relative_rates shapes shortened signatures snapshot "
        "tickets tune units"
    ),
    "dict of objects": (
        "custom_objects export input_shape provenance shortened signatures"
    ),
    "empty string": (
        "exclude experiments.Preset.budget float_layers include keys verdict"
    ),
    "fraction": (
        "compress.max_drop compression.compress.max_drop "
        "alpha beta damp dpi epsilon epsilons "
        "experiments.Preset.learning_rate max_barrier power seconds "
        "step_size temperature tolerance tuner.TicketHyperModel.learning_rate"
    ),
    "function": (
        "compress.metric compression.compress.metric "
        "export.tflite.metric export.tflite.progress hypermodel "
        "round_callbacks"
    ),
    "huge": (
        "compress.max_drop compression.compress.max_drop "
        "alpha beta damp end epsilon epsilons "
        "experiments.Preset.learning_rate max_barrier power seconds "
        "step_size temperature tolerance tuner.TicketHyperModel.learning_rate"
    ),
    "list": (
        "also_rewind_to bits compare drops exclude float_layers include "
        "input_shape inputs keys "
        "masks.Layout.inputs outputs quantiles shape test_densities tickets"
    ),
    "list of none": (
        "input_shape"
    ),
    "negative": (
        "end_step"
    ),
    "none": (
        "compress.budget compression.compress.budget "
        "minimize compress.metric compression.compress.metric "
        "compress.teacher compression.compress.teacher "
        "accelerator export.tflite.metric export.tflite.runtimes "
        "input_dtype input_shapes output_dtype "
        "IterativeMagnitudePruning.plan "
        "callbacks.IterativeMagnitudePruning.plan "
        "analysis.report.out "
        "analysis.robustness.seed augment barrier baseline batch_size batches "
        "block_size bytes classes clip compare_on custom_objects data "
        "directory epochs_per_round epsilon export fraction groups hparams "
        "input_shape inputs iterations jobs keys latency_ms layouts limits "
        "learning_rate loss macs masks max_barrier "
        "norm num_initial_points opset_version output_dir "
        "params progress quantize readers recalibrate relative_rates "
        "representative_data round_callbacks runtime scheduler signatures "
        "snapshot step_size target_density tolerance tune "
        "tuner.Hyperband.max_trials units update_rule y"
    ),
    "null character": (
        "dataset exclude float_layers include keys "
        "monitor pattern summary verdict"
    ),
    "true": (
        "masks_from_zeros "
        "allow_collapse channels cold compact compile explicit_padding "
        "kernel "
        "learning_curves mask "
        "other_versions outputs overwrite png reshuffle_rounds safe_mode "
        "select_tf_ops shuffle signed snapshot verbose"
    ),
    "unknown name": (
        "analysis.report.out experiments.compare.out "
        "dataset directory exclude float_layers include keys "
        "log_dir monitor output_dir path pattern summary verdict"
    ),
    "wrong shape": (
        "compare_on data recalibrate representative_data "
        "structured.compact_ticket.inputs structured.plan.inputs "
        "summary.inputs"
    ),
    "zero": (
        "compress.max_drop compression.compress.max_drop "
        "compress.epochs compression.compress.epochs "
        "begin_step control_every control_trials drop_by end_step epsilon "
        "epsilons margin max_barrier max_ratio "
        "export.tflite.seconds final_sparsity histogram_freq image_freq "
        "initial_sparsity momentum ratio rewind_to round "
        "schedules.Point.epochs seed sparsity split_seed step steps "
        "target_sparsity tolerance value verbose warmup weight_decay"
    ),
}


def is_legitimate(name, argument, label):
    """Whether an argument may be that."""
    known = LEGITIMATE.get(label, "").split()
    return argument in known or f"{name}.{argument}" in known


def outcomes(name, function, world):
    """Yields argument, bad value, outcome and words of all bad calls."""
    for argument in parameters(function):
        if (name, argument) in KERAS_READS:
            continue
        for label, value in BAD.items():
            if name in HEAVY and is_legitimate(name, argument, label):
                continue
            arguments = {**GOOD[name](world), argument: value}
            found, text = outcome(function, arguments, argument)
            if found == "accepted":
                world.reset()
            yield argument, label, found, text


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Paths that are accepted lie in a directory of their own."""
    monkeypatch.chdir(tmp_path)


def test_every_public_callable_has_a_good_call():
    assert public().keys() == GOOD.keys()
    assert HEAVY <= GOOD.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in GOOD if n not in HEAVY])
def test_good_calls(name, world):
    call(public()[name], GOOD[name](world))
    world.reset()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", GOOD)
def test_bad_calls_are_refused_in_a_sentence(name, world):
    wrong = [
        f"{argument} ({label}) {found}: {text}"
        for argument, label, found, text in outcomes(
            name, public()[name], world
        )
        if found in ("obscure", "hang") or (
            found == "accepted" and not is_legitimate(name, argument, label)
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_legitimate_is_an_argument():
    known = {
        word for name, function in public().items()
        for argument in parameters(function)
        for word in (argument, f"{name}.{argument}")
    }
    for label, words in LEGITIMATE.items():
        assert label in BAD and set(words.split()) <= known
