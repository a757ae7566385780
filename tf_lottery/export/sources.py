"""Sources: Keras models, traced with a fixed or an open batch."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import quantize
from tf_lottery import weights as weights_lib
from tf_lottery.export import elsewhere
from tf_lottery.utils import checks
from tf_lottery.utils.backends import tf

_PRODUCTS = ("BatchMatMulV2", "BatchMatMulV3", "Einsum")


@dataclasses.dataclass(eq=False)
class Source:
    """A plain Keras model and the shapes it is traced with.

    Attributes:
        model: `keras.Model` without masks: the zeros are in its weights. Of
            the class that was given, where that can be made again.
        specs: List of `tf.TensorSpec`, one for each input.
        structure: What the model is called with, of indices into `specs`.
        signatures: Dict from name to `tf.function` with an input signature,
            or `None`: then the file has the model's own call alone.
        notes: List of strings, what was changed.
        aware: `Source` of the model of `tf_lottery.quantize.aware` that
            this one was made from, for files of int8, or `None`.
        reference: Function of inputs that returns the outputs of the model
            under its own backend; `None` where that is TensorFlow.
        inlined: Boolean, whether functions that Keras compiles on their own,
            such as grouped convolutions, become part of the frozen one.
    """

    model: keras.Model
    specs: list
    structure: object
    signatures: dict | None = None
    notes: list = dataclasses.field(default_factory=list)
    aware: "Source | None" = None
    reference: Callable | None = None
    inlined: bool = False
    _frozen: object = None
    _outputs: object = None

    @property
    def name(self):
        """String, the model's name."""
        return self.model.name

    @property
    def input_names(self):
        """List of strings, in the order of `specs`."""
        return [spec.name for spec in self.specs]

    @property
    def output_names(self):
        """List of strings: of a dict of outputs its keys, else numbered."""
        self.freeze()
        outputs = self._structured
        if isinstance(outputs, dict):
            return sorted(outputs)
        return [f"output_{i}" for i in range(len(self._frozen.outputs))]

    @property
    def multiplies(self):
        """Boolean, whether it may multiply activations, as attention does."""
        return any(
            operation.type in _PRODUCTS
            for operation in self.freeze().graph.get_operations()
        )

    @property
    def loops(self):
        """Boolean, whether its graph has a loop, as over time."""
        return self._frozen is not None and any(
            "While" in node.op
            for node in self._frozen.graph.as_graph_def().node
        )

    def call(self, inputs):
        """Returns the outputs of the Keras model as a list of arrays."""
        inputs = self.arranged(inputs)
        if self.reference is not None:
            outputs = self.reference(inputs)
        else:
            outputs = self.model(inputs, training=False)
        self._outputs = keras.tree.map_structure(lambda _: None, outputs)
        flat = keras.tree.flatten(outputs)
        return [np.asarray(keras.ops.convert_to_numpy(o)) for o in flat]

    def structured(self, outputs):
        """Returns a list of outputs as the Keras model returned its own."""
        return keras.tree.pack_sequence_as(self._outputs, outputs)

    def freeze(self):
        """Returns a `ConcreteFunction` with the weights as constants."""
        if self._frozen is None:
            concrete = self._traced()
            if self.inlined and _has_compiled(concrete):
                tf.config.run_functions_eagerly(True)
                try:
                    concrete = self._traced()
                finally:
                    tf.config.run_functions_eagerly(False)
            self._structured = concrete.structured_outputs
            self._frozen = _constant(concrete)
        return self._frozen

    def _traced(self):
        function = tf.function(
            lambda *inputs: self.model(self.arranged(inputs), training=False),
            input_signature=self.specs,
            autograph=False,
        )
        with quantize.frozen(self.model):
            return function.get_concrete_function()

    def call_frozen(self, inputs):
        """Returns the outputs of the frozen function, structured."""
        outputs = self.freeze()(*inputs)
        return tf.nest.pack_sequence_as(self._structured, outputs)

    def save(self, directory):
        """Writes a SavedModel with the signatures, weights as constants.

        Variables of Keras 3 would become variables of TFLite, without the
        values.
        """
        functions = {
            name: _constant_signature(function)
            for name, function in self.signatures.items()
        }
        module = tf.Module()
        module.functions = list(functions.values())
        tf.saved_model.save(module, directory, signatures=functions)

    def arranged(self, inputs):
        """Returns a list, one for each input, as the model is called."""
        return keras.tree.map_structure(lambda i: inputs[i], self.structure)


def _has_compiled(concrete):
    functions = concrete.graph.as_graph_def().library.function
    return any("_XlaMustCompile" in function.attr for function in functions)


def _constant(concrete):
    from tensorflow.python.framework import convert_to_constants

    # Loops as such: TFLite has them, but not their lowered form.
    return convert_to_constants.convert_variables_to_constants_v2(
        concrete, lower_control_flow=False
    )


def _constant_signature(function):
    concrete = function.get_concrete_function()
    frozen, outputs = _constant(concrete), concrete.structured_outputs
    return tf.function(
        lambda *inputs: tf.nest.pack_sequence_as(outputs, frozen(*inputs)),
        input_signature=concrete.structured_input_signature[0],
        autograph=False,
    )


def open_model(
    model, batch_size=None, signatures=None, example=None, input_shapes=None
):
    """Returns the `Source` of a model.

    Args:
        model: A built `keras.Model`, with masks or without, or the path of a
            `.keras` or `.h5` file. Masks are let go of in a copy; a
            subclassed model is exported as it stands.
        batch_size: Integer, or `None` for the batch size of the model's
            inputs, open in general. Defaults to `None`.
        example: Inputs of a subclassed model, whose shapes it does not
            tell: an array or a list of arrays.
        input_shapes: Shapes in place of the model's own, without the batch:
            a tuple, or a dict from input name to tuple. Defaults to `None`.

    Raises:
        ValueError: If the model is not built, or the file cannot be read, or
            it takes strings.
        OSError: If there is no such file.
    """
    reference, aware, before = None, None, []
    if isinstance(model, elsewhere.Model):
        reference, before, model = model.call, model.notes, model.filled()
    model = checked(model)
    if quantize.is_aware(model):
        aware = model
    model, notes = plain(model)
    if copies.can_clone(model):
        given = internals.graphs.input_structure(model)
        given = model.inputs[0] if given is None else given
    else:
        given = _shapes(model, example)
    flat = keras.tree.flatten(given)
    specs = [
        _spec(tensor, batch_size, f"input_{i}")
        for i, tensor in enumerate(flat)
    ]
    specs = _reshaped(specs, input_shapes)
    for spec in specs:
        if spec.dtype == tf.string:
            raise ValueError(
                f"Input '{spec.name}' of model '{model.name}' takes strings, "
                "which no runtime of such files reads. Export the model "
                "behind its text layer, on the integers that this returns "
                "(`keras.Model(layer.output, model.outputs)`), and look up "
                "the words where the file runs. Received: an input of dtype "
                "string"
            )
    count = iter(range(len(flat)))
    structure = keras.tree.map_structure(lambda _: next(count), given)
    if aware is not None:
        aware = Source(aware, specs, structure)
    return Source(
        model, specs, structure, signatures, before + notes, aware, reference
    )


def checked(model):
    """Returns a model, or that of a file, if it can be exported."""
    if not isinstance(model, keras.Model):
        model = _load(model)
    weights_lib.check_built(model)
    _check_quantized(model)
    if quantize.is_aware(model):
        quantize.check_trained(model)
    return model


def plain(model):
    """Returns a model without masks, in float32, and strings: what changed.

    A subclassed one stays as it is.
    """
    if quantize.is_aware(model):
        model = holding.strip(model)
    if not copies.can_clone(model):
        return model, []
    if _masked(model):
        model = holding.strip(model)
    if not any(map(_is_half, internals.layers.flat(model))):
        return model, []
    renew = functools.partial(copies.renewed, edit=_in_float32)
    model = copies.twin(model, _in_float32, renew, "exported").model
    return model, ["The file computes in float32, not in half precision."]


def _check_quantized(model):
    names = [
        layer.name for layer in internals.layers.flat(model)
        if getattr(layer, "quantization_mode", None)
    ]
    if names:
        raise ValueError(
            f"Layers {names} of model '{model.name}' were quantised by Keras "
            "(`model.quantize`), whose integer products TFLite does not have. "
            "Export the model as it was before, with `quantize`. Received: "
            "a quantised model"
        )


def _is_half(layer):
    return layer.compute_dtype in ("float16", "bfloat16")


def _in_float32(config):
    """Edits a configuration so that it computes as all TFLite does."""
    if isinstance(config, (list, tuple)):
        return type(config)(map(_in_float32, config))
    if not isinstance(config, dict):
        return config
    return {
        key: "float32" if key == "dtype" and _names_half(value)
        else _in_float32(value)
        for key, value in config.items()
    }


def _names_half(policy):
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name")
    return isinstance(policy, str) and "float16" in policy


def shape_of(spec):
    """Returns the shape of a `tf.TensorSpec` as a tuple, `None` = open."""
    return tuple(spec.shape)


def _load(path):
    if not isinstance(path, (str, bytes)) and not hasattr(path, "__fspath__"):
        raise TypeError(
            "Argument `model` must be a `keras.Model` or the path of a "
            f".keras file. Received: {path!r} (of type {type(path)})"
        )
    checks.path("model", path)
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no model file '{path}'. Received: model='{path}'"
        )
    try:
        return keras.saving.load_model(path, compile=False)
    # Keras raises whatever the unpacking or rebuilding runs into.
    except Exception as error:
        raise ValueError(
            f"'{path}' cannot be loaded as a Keras model: it is damaged, or "
            "its custom layers are not imported. Received: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error


def _masked(model):
    return bool(holding.masks_of(model))


def _shapes(model, example):
    """Returns the inputs of a subclassed model, without their batch size."""
    if example is not None:
        return keras.tree.map_structure(
            lambda a: keras.KerasTensor(
                (None, *np.shape(a)[1:]), np.asarray(a).dtype.name
            ),
            example,
        )
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if shape is None or not all(
        length is None or isinstance(length, int) for length in shape
    ):
        raise ValueError(
            f"Model '{model.name}' is a subclass that does not tell the "
            "shapes of its inputs. Pass a batch of them as "
            f"`representative_data`. Received: {config}"
        )
    return keras.KerasTensor((None, *shape[1:]), model.compute_dtype)


def _spec(tensor, batch_size, name):
    shape = list(tensor.shape)
    if batch_size is not None:
        shape[0] = batch_size
    name = getattr(tensor, "name", None) or name
    return tf.TensorSpec(shape, tensor.dtype, name=name.replace("/", "_"))


def _reshaped(specs, shapes):
    """Returns specifications with other shapes behind the batch."""
    if shapes is None:
        return specs
    if not isinstance(shapes, dict):
        shapes = {spec.name: shapes for spec in specs}
    unknown = sorted(set(shapes) - {spec.name for spec in specs})
    if unknown:
        raise ValueError(
            f"Argument `input_shapes` names no input: {unknown}. Expected: "
            f"of {[spec.name for spec in specs]}"
        )
    found = []
    for spec in specs:
        own = shape_of(spec)
        asked = (own[0], *shapes.get(spec.name, own[1:]))
        fits = len(asked) == len(own) and all(
            have in (None, want) for have, want in zip(own, asked)
        )
        if not fits:
            raise ValueError(
                f"Argument `input_shapes` does not fit input '{spec.name}'. "
                f"Received: {asked[1:]}. Expected: {own[1:]}, its open sizes "
                "set"
            )
        found.append(tf.TensorSpec(asked, spec.dtype, name=spec.name))
    return found
