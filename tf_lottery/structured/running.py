"""A model run with other weights and in another precision, without a copy."""

import contextlib
import math

import keras
from keras import ops
from keras import tree

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.criteria import functional as precise
from tf_lottery.graph import functional
from tf_lottery.structured import portable
from tf_lottery.utils import backends

# NumPy casts arrays of fewer numbers in less time than TensorFlow.
_SMALL = 2**14


class Runner:
    """Runs the graph of a model with any weights, in any precision.

    The layers of the model are called themselves. Inside `opened` they
    compute in the precision, by operations that run anywhere; afterwards
    they are what they were, and no variable has changed.
    """

    def __init__(self, view, variables, dtype):
        self.view, self.variables, self.dtype = view, variables, dtype
        self.keys = {id(v): key for key, v in variables.items()}
        self._memory = {}
        layers = internals.layers.flat(view.model)
        # Some are of the graph alone.
        layers += [
            x for x in self._operations() if isinstance(x, keras.layers.Layer)
        ]
        self.layers = list(dict.fromkeys(layers))

    @contextlib.contextmanager
    def opened(self):
        """A context in which the model can be run."""
        layers = [x for x in self.layers if x.quantization_mode is None]
        others = set(self.layers) - set(layers)
        fixed = {id(v) for layer in others for v in layer.variables}
        floating = [
            v for v in self.variables.values()
            if id(v) not in fixed and not weights_lib.is_seed(v)
            and keras.backend.is_float_dtype(internals.layers.dtype(v))
        ]
        with contextlib.ExitStack() as stack:
            stack.enter_context(internals.layers.attributes_kept(self.layers))
            stack.enter_context(
                precise.computing_in(layers, floating, self.dtype)
            )
            for operation in self._operations():
                if isinstance(operation, keras.layers.Layer) or (
                    "float" not in str(getattr(operation, "dtype", ""))
                ):
                    continue
                stack.enter_context(internals.layers.replaced(
                    operation, "dtype", self.dtype
                ))
            for layer in layers:
                portable.make(layer)
            yield

    def outputs(
        self, inputs, values, note=None, remember=False, changed=None
    ):
        """Returns what the model puts out, a list of arrays.

        `values` returns the array of a weight key, or `None`: the value it has;
        `note` is called before each layer or operation, with it and arguments.
        With `remember` what each layer puts out is kept: where the weight of
        one key has `changed` since, on the same inputs, what does not depend
        on it is taken from there.
        """
        scope = _Weights(self.keys, values)
        if remember:
            self._memory = {}
        remembered = {} if changed is None else self._memory

        def call(operation, args, kwargs, outputs):
            graph = self._graph_in(operation)
            if graph is not None:
                inner = self._inner(operation, graph, args, kwargs)
                return functional.spread(
                    graph, functional.run(graph, inner, call)
                )
            known = remembered.get(id(outputs[0]))
            given = tree.flatten((args, kwargs))
            if known and changed not in known[1] and (
                list(map(id, known[0])) == list(map(id, given))
            ):
                return known[2]
            if note is not None:
                note(operation, args, kwargs)
            scope.prepare(operation)
            found = _called(operation, args, kwargs)
            read = scope.forget()
            if remember:
                self._memory[id(outputs[0])] = given, read, found
            return found

        with scope:
            tensors = [
                self._tensor(x, symbol)
                for x, symbol in zip(inputs, self.view.graph.inputs)
            ] if changed is None else self._tensors
            self._tensors = tensors
            found = functional.run(self.view.graph, tensors, call)
            return [ops.convert_to_numpy(x) for x in found]

    def _tensor(self, array, symbol):
        floating = keras.backend.is_float_dtype(symbol.dtype)
        dtype = self.dtype if floating else symbol.dtype
        return ops.convert_to_tensor(array, dtype)

    def _graph_in(self, operation):
        """The graph that an operation is itself, or `None`."""
        part = self.view.parts.get(id(operation))
        if part is not None:
            return part.graph
        return functional.own_graph(operation)

    def _inner(self, operation, graph, args, kwargs):
        part = self.view.parts.get(id(operation))
        part = part or functional.View(operation, graph, {})
        return functional.inputs_of(part, args, kwargs, ops.is_tensor)

    def _operations(self):
        """Layers and operations of the graph, as a list."""
        waiting, found = [self.view.graph], {}
        while waiting:
            for operation, *_ in functional.symbolic_arguments(waiting.pop()):
                if operation not in found:
                    found[operation] = True
                    graph = self._graph_in(operation)
                    waiting += [] if graph is None else [graph]
        return list(found)


def _called(operation, args, kwargs):
    while getattr(operation, "transparent", False):
        operation = operation.layer
    layer = isinstance(operation, keras.layers.Layer)
    if layer and internals.layers.takes_training(operation):
        kwargs = {**kwargs, "training": False}
    return operation(*args, **kwargs)


class _Weights(keras.StatelessScope):
    """Gives variables values one layer after the other."""

    def __init__(self, keys, values):
        super().__init__(initialize_variables=False)
        self._keys, self._values, self._read = keys, values, set()

    def get_current_value(self, variable):
        if id(variable) not in self.state_mapping:
            key = self._keys.get(id(variable))
            self._read.add(key)
            value = None if key is None else self._values(key)
            if value is None:
                value = internals.layers.value(variable)
            self.add_update((variable, _tensor(variable, value)))
        return super().get_current_value(variable)

    def prepare(self, operation):
        """Makes values before JAX traces a loop, which would keep them."""
        if backends.name() != "jax":
            return
        if isinstance(operation, keras.layers.Layer):
            for layer in internals.layers.flat(operation):
                if isinstance(layer, keras.layers.RNN):
                    for variable in layer.variables:
                        self.get_current_value(variable)

    def forget(self):
        """Frees the values; returns which weights were read."""
        read, self._read = self._read, set()
        self.state_mapping.clear()
        return read


def _tensor(variable, value):
    """A value as a tensor in the precision that a variable has now."""
    dtype = internals.layers.dtype(variable)
    if math.prod(variable.shape) < _SMALL and dtype in ("float32", "float64"):
        array = ops.convert_to_numpy(value)
        return ops.convert_to_tensor(array.astype(dtype, copy=False))
    return ops.cast(ops.convert_to_tensor(value), dtype)
