"""Random inputs that a model can be proved on."""

import math

import keras
import numpy as np
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import functional

# For axes of unknown size, tried one after the other.
SIZES = (16, 8, 4, 32, 64, 128, 256)
_ELEMENTS = 2**18
# As many multiplications of a batch take a blink.
_MACS = 2**27
# Four samples are enough for statistics to be calibrated on, and two to see
# whether samples are mixed up.
_CALIBRATING, _FEWEST, _MOST = 4, 2, 64
# What depends on the size of an image, if its inputs have one.
_SIZED = {
    "CenterCrop", "Flatten", "Permute", "RandomCrop", "Reshape", "Resizing",
}


def smaller(view):
    """Returns shapes of smaller images that a model may run on, with batch.

    What a removed channel does is the same at every size of an image, and a
    small one takes a fraction of the time. The smallest maps of the model
    have two pixels along an axis then. `None` where a layer is made for one
    size, or nothing is gained.
    """
    graphs = [view.graph, *(part.graph for part in view.parts.values())]
    calls = [
        call for graph in graphs
        for call in functional.symbolic_arguments(graph)
    ]
    sides = {_side(x) for x in view.graph.inputs if len(x.shape) == 4}
    maps = [_side(x) for call in calls for x in functional.tensors(call[1:])]
    if len(sides) != 1 or 0 in sides or any(_is_sized(*call) for call in calls):
        return None
    side = sides.pop()
    small = 8 * math.ceil(side / min(n for n in maps if n > 1) / 4)
    if small >= side:
        return None
    return [
        (x.shape[0], *(small if n == side else n for n in x.shape[1:]))
        for x in view.graph.inputs
    ]


def _side(tensor):
    """The side of a square image or map, else 0."""
    shape = tensor.shape
    if len(shape) != 4:
        return 0
    return next((a for a, b in zip(shape[1:], shape[2:]) if a and a == b), 0)


def _is_sized(operation, args, kwargs):
    """Whether an operation is made for maps of one size."""
    return type(operation).__name__ in _SIZED and any(
        sum(n != 1 for n in x.shape[1:]) > 1
        for x in functional.tensors((args, kwargs))
    )


def random_inputs(view, size=SIZES[0], seed=0, shapes=None, macs=0):
    """Returns a random batch for a model: a list of arrays, one per input.

    Images are a random colour for each, times uniform noise, in the range
    that built-in preprocessing expects; indices are below the size of every
    table; other values are normally distributed. `size` stands for what the
    model leaves open, and `macs` is what one sample of its own shapes takes.

    Raises:
        ValueError: If an input holds strings.
    """
    generator = np.random.default_rng(seed)
    own = [x.shape for x in view.graph.inputs]
    shapes = [
        [size if n is None else n for n in shape[1:]] for shape in shapes or own
    ]
    largest = max(map(math.prod, shapes))
    before = max(math.prod(n or 1 for n in shape[1:]) for shape in own)
    affordable = _MACS * before // (macs * largest) if macs else _MOST
    calibrates = _has(view.model, keras.layers.BatchNormalization)
    fewest = _CALIBRATING if calibrates else _FEWEST
    batch = max(min(_ELEMENTS // largest, affordable, _MOST), fewest)
    indices = _table_sizes(view)
    preprocessing = keras.layers.Rescaling, keras.layers.Normalization
    scale = 255.0 if _has(view.model, preprocessing) else 1.0
    return [
        _values(
            generator,
            (x.shape[0] or batch, *shape),
            keras.backend.standardize_dtype(x.dtype),
            indices.get(id(x)),
            scale,
        )
        for x, shape in zip(view.graph.inputs, shapes)
    ]


def fitting(view, run, macs=0):
    """Returns random inputs of the first shapes that a model runs on.

    They come with what `run` returned for the list of them.

    Raises:
        ValueError: If it runs on none.
    """
    small, failure = smaller(view), None
    # A layer that is made for one size of images may say so in any way.
    for shapes in [None] if small is None else [small, None]:
        for size in SIZES:
            arrays = random_inputs(view, size, shapes=shapes, macs=macs)
            try:
                return arrays, run(arrays)
            # Too small for the model, which may be said in many ways.
            except Exception as error:
                failure = error
            if not _is_open(view):
                break
    name, wanted = f"Model '{view.model.name}'", ""
    if _is_open(view):
        wanted = f", of {', '.join(map(str, SIZES))} along axes it leaves open"
    else:
        try:
            view.model(packed(view, arrays), training=False)
        # Nothing that is done here is to blame.
        except Exception as error:
            name, failure = f"{name}, whole as it is,", error
    raise ValueError(
        f"{name} does not run on random inputs{wanted}. Received: "
        f"{type(failure).__name__}: {str(failure)[:400]}. Expected: a model "
        "that runs, or `inputs`, a batch that it takes."
    ) from failure


def checked(view, inputs):
    """Returns a batch as the list of inputs that a graph takes.

    Raises:
        ValueError: If it is of other shapes.
    """
    found = functional.ordered(view.graph, (inputs,), {}, lambda x: True)
    shapes = [tuple(np.shape(x)) for x in found]
    wanted = [tuple(x.shape) for x in view.graph.inputs]
    if len(shapes) != len(wanted) or not all(map(_fits, shapes, wanted)):
        raise ValueError(
            f"Argument `inputs` does not fit model '{view.model.name}'. "
            f"Received: arrays of shapes {shapes}. Expected: {wanted}."
        )
    return found


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(
        n in (None, size) for size, n in zip(shape, wanted)
    )


def packed(view, arrays):
    """Returns a list of inputs in the structure that the model takes."""
    return tree.pack_sequence_as(view.graph.input, list(arrays))


def _is_open(view):
    return any(None in x.shape[1:] for x in view.graph.inputs)


def _values(generator, shape, dtype, below, scale):
    if dtype == "string":
        raise ValueError(
            "An input of strings has no random values. Received: an input of "
            "dtype 'string'. Expected: `inputs`, a batch to prove equality on."
        )
    if dtype == "bool":
        return generator.random(shape) < 0.7
    if below is not None or "int" in dtype:
        return generator.integers(0, below or 2, shape).astype(dtype)
    if len(shape) == 4 and min(shape[1], shape[3]) <= 4:
        colour = generator.uniform(0, scale, (shape[0], 1, 1, shape[3]))
        return (colour * generator.random(shape)).astype(dtype)
    return generator.normal(size=shape).astype(dtype)


def _has(model, kinds):
    return any(isinstance(x, kinds) for x in internals.layers.flat(model))


def _table_sizes(view):
    """Smallest table that each input is an index into, by id of the input."""
    found = {}
    for operation, args, kwargs in functional.symbolic_arguments(view.graph):
        tensors = functional.tensors((args, kwargs))
        part = view.parts.get(id(operation))
        if part is not None:
            inner = _table_sizes(part)
            sizes = [inner.get(id(x)) for x in part.graph.inputs]
        else:
            sizes = [_table_size(operation)] * len(tensors)
        for tensor, size in zip(tensors, sizes):
            if size is not None:
                found[id(tensor)] = min(size, found.get(id(tensor), size))
    return found


def _table_size(operation):
    inner = getattr(operation, "layer", operation)
    for name in ("input_dim", "num_tokens"):
        size = getattr(inner, name, None)
        if isinstance(size, int):
            return size
    return None
