"""Gradients under each of Keras' backends.

`compiled` makes a function fast, `of` gives the gradients of a function of a
dict of tensors, `for_each` takes a function of one example to many.
"""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.utils import backends
from tf_lottery.utils import messages
from tf_lottery.utils.backends import jax
from tf_lottery.utils.backends import tf


def compiled(function, any_length=None):
    """Returns a function that is traced once for each kind of arguments.

    Under torch, where nothing is traced, it is the function itself.

    Args:
        any_length: Boolean, whether TensorFlow leaves the length of the last
            argument, a batch, open, and nothing else. Defaults to `None`: it
            leaves open what changes.
    """
    return messages.shortened(_engine().compiled(function, any_length))


def of(function, values):
    """Returns the gradients of a scalar function of a dict of tensors.

    They are `None` where none comes back. Calls can be nested.
    """
    return _engine().of(function, values)


def for_each(function, batch):
    """Returns what a function makes of each example, one after the other.

    It takes a structure like the batch, without its first axis.
    """
    return _engine().for_each(function, batch)


def constant(variable):
    """Returns the value of a variable as a tensor without a history."""
    return _engine().constant(internals.layers.value(variable))


def after(tensors, value):
    """Returns a tensor that a graph makes after others."""
    return _engine().after(tensors, value)


def trace():
    """Returns what a tensor that is made now belongs to; loops have their own.
    """
    return _engine().trace()


def precision(dtype):
    """A context in which tensors can have this precision."""
    return _engine().precision(dtype)


def to_arrays(tensors):
    """Returns tensors as arrays that share their memory, to be read only."""
    return {k: _engine().to_array(value) for k, value in tensors.items()}


class _Engine:
    """What most backends do."""

    def compiled(self, function, any_length):
        return function

    def constant(self, value):
        return value

    def after(self, tensors, value):
        return value

    def trace(self):
        return None

    def precision(self, dtype):
        return contextlib.nullcontext()

    def to_array(self, tensor):
        return ops.convert_to_numpy(tensor)


class _TensorFlow(_Engine):
    def compiled(self, function, any_length):
        traced = tf.function(
            function, autograph=False, reduce_retracing=any_length is None
        )

        @functools.wraps(function)
        def call(*args):
            kinds = args
            if any_length:
                kinds = *args[:-1], tf.nest.map_structure(_open, args[-1])
            with _graphs():
                # Called directly, TensorFlow would take the functions of
                # several models for one that is traced again and again.
                return traced.get_concrete_function(*kinds)(*args)

        return call

    def of(self, function, values):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            result = function(values)
        # Embeddings give the rows they looked up.
        return {
            key: None if value is None else tf.convert_to_tensor(value)
            for key, value in tape.gradient(result, values).items()
        }

    def for_each(self, function, batch):
        # Without `warn` it tells of every operation that takes a loop.
        return tf.vectorized_map(function, batch, warn=False)

    def constant(self, value):
        return tf.convert_to_tensor(value)

    def after(self, tensors, value):
        with tf.control_dependencies(tensors):
            return tf.identity(value) if tensors else value

    def trace(self):
        return tf.compat.v1.get_default_graph()

    def to_array(self, tensor):
        return np.asarray(memoryview(tensor))


class _Jax(_Engine):
    def compiled(self, function, any_length):
        return jax.jit(function)

    def of(self, function, values):
        from jax.extend import core

        traced = jax.make_jaxpr(jax.grad(function))(values)
        found = core.jaxpr_as_fun(traced)(*jax.tree.leaves(values))
        missing = map(_is_zero, _definitions(traced.jaxpr))
        found = [None if m else value for m, value in zip(missing, found)]
        # JAX sorts the keys of a dict.
        found = dict(zip(sorted(values), found, strict=True))
        return {key: found[key] for key in values}

    def for_each(self, function, batch):
        return jax.vmap(function)(batch)

    def trace(self):
        from jax.extend import core

        return core.get_opaque_trace_state()

    @contextlib.contextmanager
    def precision(self, dtype):
        # It has no float64 unless asked for.
        enabled = jax.config.jax_enable_x64 or dtype == "float64"
        with jax.enable_x64(enabled), _promoting(dtype):
            yield


class _Torch(_Engine):
    def of(self, function, values):
        import torch

        # Inside another call they have a history already, to be kept.
        nested = any(value.requires_grad for value in values.values())
        if not nested:
            values = {
                key: value.detach().requires_grad_()
                for key, value in values.items()
            }
        with torch.enable_grad():
            result = function(values)
            found = [None] * len(values)
            if result.requires_grad:
                found = torch.autograd.grad(
                    result,
                    list(values.values()),
                    create_graph=nested,
                    allow_unused=True,
                )
        return dict(zip(values, found))

    def for_each(self, function, batch):
        length = len(keras.tree.flatten(batch)[0])
        found = [
            function(keras.tree.map_structure(lambda a: a[i], batch))
            for i in range(length)
        ]
        return {
            key: ops.stack([each[key] for each in found]) for key in found[0]
        }

    def constant(self, value):
        return value.detach()

    def precision(self, dtype):
        return _promoting(dtype)


def _open(batch):
    """The kind of a batch of any length."""
    batch = tf.convert_to_tensor(batch)
    return tf.TensorSpec([None, *batch.shape[1:]], batch.dtype)


_ENGINES = {"tensorflow": _TensorFlow(), "jax": _Jax(), "torch": _Torch()}


def _engine():
    if backends.name() not in _ENGINES:
        raise ValueError(
            "Criteria that follow gradients work under these backends of "
            f"Keras: {sorted(_ENGINES)}. Received: {backends.name()!r}."
        )
    return _ENGINES[backends.name()]


@contextlib.contextmanager
def _graphs():
    """Traces even where functions were told to run eagerly."""
    eagerly = tf.config.functions_run_eagerly()
    if eagerly:
        tf.config.run_functions_eagerly(False)
    try:
        yield
    finally:
        if eagerly:
            tf.config.run_functions_eagerly(True)


def _promoting(dtype):
    """Keeps to float64: flows through deep networks leave float32's range."""
    if dtype != "float64":
        return contextlib.nullcontext()
    return internals.layers.float64_promoted()


def _definitions(jaxpr):
    """Yields what makes each output of a jaxpr: an equation or a literal."""
    made = {id(v): eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    for variable in jaxpr.outvars:
        yield made.get(id(variable), variable)


def _is_zero(made):
    """Whether it is the zeros that JAX returns where there is no gradient."""
    if hasattr(made, "primitive"):
        is_filled = made.primitive.name == "broadcast_in_dim"
        return is_filled and _is_zero(made.invars[0])
    return hasattr(made, "val") and not np.any(made.val)
