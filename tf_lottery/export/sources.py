"""Sources: Keras models and files of them, opened to be exported."""

import functools
import pathlib
import warnings

import keras
import numpy as np

from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import quantize
from tf_lottery import structured
from tf_lottery import weights as weights_lib
from tf_lottery.export import elsewhere
from tf_lottery.export import traced
from tf_lottery.graph import renewing
from tf_lottery.structured import dead
from tf_lottery.utils import checks
from tf_lottery.utils.backends import tf


def open_model(
    model, batch_size=None, signatures=None, example=None, input_shapes=None
):
    """Returns the `traced.Source` of a model.

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
        aware = traced.Source(aware, specs, structure)
    return traced.Source(
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
    if holding.masks_of(model):
        model = holding.strip(model)
    half = ("float16", "bfloat16")
    if not any(
        layer.compute_dtype in half for layer in internals.layers.flat(model)
    ):
        return model, []
    renew = functools.partial(copies.renewed, edit=_in_float32)
    model = copies.twin(model, _in_float32, renew, "exported").model
    return model, ["The file computes in float32, not in half precision."]


def narrowed(model):
    """Returns a model without its dead units, and strings to say about it.

    Narrow layers are faster on every target, whatever it can do with zeros;
    and nothing is lost, see `structured.compact`. It is the model given if
    nothing in it is dead or it cannot be told.
    """
    try:
        found = dead.Dead(model, None)
        if found.kept[found.graph.ids].all():
            return model, []
        with warnings.catch_warnings():
            # Of its class and its compiling: nobody gets it.
            warnings.simplefilter("ignore", UserWarning)
            small = structured.compact(model)
    except (ValueError, structured.VerificationError) as error:
        reason = str(error).partition("\n")[0]
        return model, [f"Dead units were left where they are: {reason}"]
    report = structured.report_of(small)
    before, after = report.plan.before, report.plan.after
    return small, [
        f"{report.unread + report.constant:,} dead units were removed: "
        f"{before['macs']:,} MACs became {after['macs']:,}."
    ]


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


def _in_float32(config):
    """Edits a configuration so that it computes as all TFLite does."""
    return renewing.walked(config, lambda each: {
        key: "float32" if key == "dtype" and _names_half(value) else value
        for key, value in each.items()
    })


def _names_half(policy):
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name")
    return isinstance(policy, str) and "float16" in policy


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
        own = tuple(spec.shape)
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
