"""Layers inside layers, variables, losses and masks of calls."""

import contextlib

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

    Those that a layer reads in a symbolic call are not. Under torch it stays
    empty: layers list their parameters there whenever they are called.
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
    """A scope that tells what tensors are read of variables.

    Args:
        note: Function of the variable, an index or `None`, and the tensor.
    """
    def change(item):
        def changed(variable, index):
            tensor = item(variable, index)
            note(variable, index, tensor)
            return tensor

        return changed

    with _values_noted(note), _of_variables("__getitem__", change):
        yield


def _values_noted(note):
    def change(original):
        def value(variable):
            tensor = original.fget(variable)
            note(variable, None, tensor)
            return tensor

        return property(value, original.fset)

    return _of_variables("value", change)


@contextlib.contextmanager
def _of_variables(name, change):
    """Gives variables of Keras another attribute meanwhile."""
    kind = next(k for k in keras.Variable.__mro__ if name in vars(k))
    original = vars(kind)[name]
    setattr(kind, name, change(original))
    try:
        yield
    finally:
        setattr(kind, name, original)


@contextlib.contextmanager
def calling_through(chosen, instead):
    """A scope in which some layers are called in another way.

    Projections tell the shapes they make there, and not those that they were
    built for.

    Args:
        chosen: Function from layer to boolean.
        instead: Function of `(layer, args, kwargs)`.
    """
    original = keras.layers.Layer.__call__

    def call(layer, *args, **kwargs):
        if chosen(layer):
            return instead(layer, args, kwargs)
        outputs = original(layer, *args, **kwargs)
        if isinstance(layer, keras.layers.EinsumDense):
            _make_definite(outputs, layer.equation, args[0])
        return outputs

    keras.layers.Layer.__call__ = call
    try:
        yield
    finally:
        keras.layers.Layer.__call__ = original


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


def takes_training(model):
    """Whether the `call` of a model has an argument `training`."""
    return model._call_has_training_arg


def table(embedding):
    """Returns the variable that an `Embedding` looks tokens up in."""
    return embedding._embeddings


def value(variable):
    """Returns the tensor of a variable, whatever scope; `None`: it has none."""
    return variable._value


def dtype(variable):
    """Returns the dtype a variable is stored in, whatever scope."""
    return variable._dtype


@contextlib.contextmanager
def replaced(owner, name, value):
    """Gives an attribute another value meanwhile, which Keras does not note.
    """
    own, before = name in vars(owner), getattr(owner, name)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if own:
            object.__setattr__(owner, name, before)
        else:
            object.__delattr__(owner, name)


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
    """Lets a layer run another function meanwhile.

    Args:
        change: Function of its `call` that returns what is run instead.
    """
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
    """Lets layers compute in a precision meanwhile, and keep no losses.

    Args:
        variables: Iterable of variables that have the precision, too.
    """
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
    """Lets Keras give results in float64 where the operands are.

    Other backends than TensorFlow's make float32 of them.
    """
    found = dtypes.BIT64_TO_BIT32_DTYPE
    before = found["float64"]
    found["float64"] = "float64"
    try:
        yield
    finally:
        found["float64"] = before


@contextlib.contextmanager
def functions_replaced(change, names):
    """Replaces functions of the backend that all ways in Keras lead through.

    Args:
        change: Function of a function and its name that returns another one.
    """
    from keras.src import backend

    places = {
        name: next(
            place for place in (backend.numpy, backend.nn, backend)
            if hasattr(place, name)
        ) for name in names
    }
    before = {name: getattr(place, name) for name, place in places.items()}
    for name, function in before.items():
        setattr(places[name], name, change(function, name))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(places[name], name, function)


def draw_from_states(model):
    """Makes layers without a seed draw from the states they have.

    They do so under every backend but torch, where dropout draws from a
    generator of the whole process, which nothing saves or rewinds.
    """
    for layer in flat(model):
        for generator in layer._seed_generators:
            if generator._initial_seed is None:
                generator._initial_seed = 0


def note(tensor, name, value):
    """Attaches a value to a tensor, as Keras does with masks."""
    tensor_attributes.set_tensor_attr(tensor, name, value)


def noted(tensor, name):
    """Returns a value attached to a tensor, or `None`."""
    return tensor_attributes.get_tensor_attr(tensor, name)


def carry_mask(output, other):
    """Gives another tensor the Keras mask of an output, if it has one."""
    mask = masking.get_keras_mask(output)
    if mask is not None:
        masking.set_keras_mask(other, mask)


@contextlib.contextmanager
def values_made_late(check):
    """Makes variables without memory in a context, and values at its end.

    Args:
        check: Function of the list of the variables; no memory is taken if
            it raises.
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


def safe_mode():
    """A context in which Keras runs no code of files, whatever the process."""
    return serialization_lib.SafeModeScope()


def module(name):
    """Returns a module that is imported when it is used first."""
    return getattr(module_utils, name)
