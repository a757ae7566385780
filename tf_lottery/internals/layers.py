"""Layers inside layers, variables, losses and masks of calls."""

import contextlib
import functools
import operator

import keras
from keras.src.backend.common import dtypes
from keras.src.backend.common import global_state
from keras.src.backend.common import masking
from keras.src.backend.common import stateless_scope
from keras.src.backend.common import tensor_attributes
from keras.src.saving import serialization_lib
from keras.src.utils import module_utils

# Where Keras lists the variables that wait for their first values.
_WAITING = "uninitialized_variables"
# The variable that an `Embedding` looks tokens up in.
table = operator.attrgetter("_embeddings")
# The tensor of a variable, `None` if it has none, and the dtype it is stored
# in, whatever the scope.
value, dtype = map(operator.attrgetter, ("_value", "_dtype"))
# These attach a value to a tensor by a name, as Keras does with masks.
note = tensor_attributes.set_tensor_attr
noted = tensor_attributes.get_tensor_attr
# A context in which Keras runs no code of files, whatever the process.
safe_mode = serialization_lib.SafeModeScope
# A module of a name that is imported when it is used first.
module = functools.partial(getattr, module_utils)
# Whether the `call` of a model has an argument `training`.
takes_training = operator.attrgetter("_call_has_training_arg")


def flat(layer):
    """Returns a layer and all layers inside it, as a list."""
    return list(layer._flatten_layers())


def below(layer):
    """Returns all layers inside a layer, as a list."""
    return list(layer._flatten_layers(include_self=False))


def children(layer):
    """Returns the layers directly inside a layer, as a list."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def own_variables(layer):
    """Returns the variables of a layer that no layer inside it has."""
    inside = {id(v) for child in children(layer) for v in child.variables}
    return [v for v in layer.variables if id(v) not in inside]


@contextlib.contextmanager
def noting_reads():
    """A scope with the list of variables that are read at once.

    Symbolic calls are not among them, nor anything under torch, where layers
    list their parameters whenever they are called.
    """
    found = []
    is_noting = keras.backend.backend() != "torch"

    def note(variable, *_):
        if is_noting and not stateless_scope.in_stateless_scope():
            found.append(variable)

    with _values_noted(note):
        yield found


@contextlib.contextmanager
def noting_values(note):
    """Tells `note(variable, index or None, tensor)` meanwhile what is read."""
    kind = next(k for k in keras.Variable.__mro__ if "__getitem__" in vars(k))
    original = kind.__getitem__

    def item(variable, index):
        tensor = original(variable, index)
        note(variable, index, tensor)
        return tensor

    with _values_noted(note), replaced(kind, "__getitem__", item):
        yield


def _values_noted(note):
    kind = next(k for k in keras.Variable.__mro__ if "value" in vars(k))
    original = kind.value

    def value(variable):
        tensor = original.fget(variable)
        note(variable, None, tensor)
        return tensor

    return replaced(kind, "value", property(value, original.fset))


@contextlib.contextmanager
def calling_through(chosen, instead):
    """A scope in which some layers are called in another way.

    Those `chosen(layer)` by `instead(layer, args, kwargs)`. Projections tell
    the shapes they make there, not those they were built for.
    """
    original = keras.layers.Layer.__call__

    def call(layer, *args, **kwargs):
        if chosen(layer):
            return instead(layer, args, kwargs)
        outputs = original(layer, *args, **kwargs)
        if isinstance(layer, keras.layers.EinsumDense):
            _make_definite(outputs, layer.equation, args[0])
        return outputs

    with replaced(keras.layers.Layer, "__call__", call):
        yield


def _make_definite(output, equation, tensor):
    labels, _, made = equation.replace(" ", "").partition("->")
    read = labels.partition(",")[0]
    if "." not in equation:
        sizes = dict(zip(read, tensor.shape))
        output._shape = tuple(
            sizes.get(c) if n is None else n
            for c, n in zip(made, output.shape)
        )


def is_trained(layer, variable):
    """Whether a variable of a layer's own was made to be trained."""
    return any(variable is v for v in layer._trainable_variables)


def is_state(layer, variable):
    """Whether a variable of a layer's own is a state, which takes no mask."""
    # A kernel that Keras quantised is not trained either, and takes one.
    return len(variable.shape) < 2 and not is_trained(layer, variable)


@contextlib.contextmanager
def replaced(owner, name, value):
    """Gives an attribute, also of a class, another value meanwhile, unnoted."""
    kind = type if isinstance(owner, type) else object
    own, before = name in vars(owner), getattr(owner, name)
    kind.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if own:
            kind.__setattr__(owner, name, before)
        else:
            kind.__delattr__(owner, name)


def plain_loops(layers):
    """Returns `(layer, name, value)` that make recurrent layers plain loops.

    They use no kernels that show nothing of what they do, and call no cell for
    the shape of a dropout alone.
    """
    values = (
        ("use_cudnn", False),
        ("_maybe_config_dropout_masks", lambda *args: None),
    )
    return [
        (layer, *value) for layer in layers for value in values
        if hasattr(layer, value[0])
    ]


@contextlib.contextmanager
def attributes_kept(layers):
    """Puts all attributes of layers back in the end."""
    kept = [(vars(layer), dict(vars(layer))) for layer in layers]
    try:
        yield
    finally:
        for attributes, before in kept:
            for name in attributes.keys() - before.keys():
                del attributes[name]
            attributes.update(before)


@contextlib.contextmanager
def call_replaced(layer, change):
    """Lets a layer run what `change` returns of its `call` meanwhile."""
    attributes = vars(layer)
    before = {"call": attributes["call"]} if "call" in attributes else {}
    attributes["call"] = change(layer.call)
    try:
        yield
    finally:
        del attributes["call"]
        attributes.update(before)


@contextlib.contextmanager
def computing_in(layers, variables, precision, is_floating):
    """Lets layers and variables have a precision meanwhile, and no losses."""
    policy = keras.DTypePolicy(precision)
    with contextlib.ExitStack() as stack:
        def replace(*arguments):
            stack.enter_context(replaced(*arguments))

        for layer in layers:
            # A call forgets the losses of the last one.
            replace(layer, "_losses", [])
            replace(layer, "_loss_ids", set())
            if is_floating(layer.compute_dtype, layer.variable_dtype):
                replace(layer, "_dtype_policy", policy)
            for part in _cast_inputs(layer):
                if is_floating(part.dtype):
                    replace(part, "_dtype", precision)
        for variable in variables:
            replace(variable, "_dtype", precision)
        yield


def _cast_inputs(layer):
    """What has the precision that a graph of layers casts its inputs to."""
    if isinstance(layer, keras.layers.InputLayer):
        return [layer]
    graphs = (layer, getattr(layer, "_functional", None))
    return [t for g in graphs for t in getattr(g, "_inputs", None) or ()]


@contextlib.contextmanager
def losses_kept(model):
    """Puts losses of the call before back, which Keras clears at each."""
    kept = [
        (layer, list(layer._losses), set(layer._loss_ids))
        for layer in flat(model)
    ]
    try:
        yield
    finally:
        for layer, losses, ids in kept:
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)


@contextlib.contextmanager
def float64_promoted():
    """Lets Keras give float64 where operands are, as under TensorFlow alone."""
    found = dtypes.BIT64_TO_BIT32_DTYPE
    before = found["float64"]
    found["float64"] = "float64"
    try:
        yield
    finally:
        found["float64"] = before


@contextlib.contextmanager
def functions_replaced(change, names):
    """Replaces functions of the backend by `change(function, name)`."""
    from keras.src import backend

    with contextlib.ExitStack() as stack:
        for name in names:
            place = next(
                place for place in (backend.numpy, backend.nn, backend)
                if hasattr(place, name)
            )
            new = change(getattr(place, name), name)
            stack.enter_context(replaced(place, name, new))
        yield


def draw_from_states(model):
    """Makes layers without a seed draw from the states they have.

    Under torch, dropout would draw from a generator of the whole process.
    """
    for layer in flat(model):
        for generator in layer._seed_generators:
            if generator._initial_seed is None:
                generator._initial_seed = 0


def carry_mask(output, other):
    """Gives another tensor the Keras mask of an output, if it has one."""
    mask = masking.get_keras_mask(output)
    if mask is not None:
        masking.set_keras_mask(other, mask)


@contextlib.contextmanager
def values_made_late(check):
    """Makes variables without memory in a context, and values at its end.

    None are made if `check`, which is given the variables, raises.
    """
    before = global_state.get_global_attribute(_WAITING, [])
    global_state.set_global_attribute(_WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
        check(global_state.get_global_attribute(_WAITING, []))
        # Outside of all scopes, its end gives first values.
        with keras.StatelessScope():
            pass
    finally:
        global_state.set_global_attribute(_WAITING, before)
