"""A model made a second time, of the same class where that can be."""

import copy as copying
import dataclasses
import warnings

import keras
from keras import ops

from tf_lottery import constraints
from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.copies import alike
from tf_lottery.copies import state
from tf_lottery.graph import functional
from tf_lottery.graph import inlining
from tf_lottery.graph import renewing


class NotCopyable(ValueError):
    """A model or layer cannot be made from its configuration; says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Twin:
    """A model made like another one.

    Attributes:
        model: The new `keras.Model`.
        variables: Dict from weight key in the *old* model to the variable of
            the new one. Keys may be others where the class is.
        keys: Dict from weight key in the old model to that in the new one.
    """

    model: keras.Model
    variables: dict
    keys: dict


def can_clone(model):
    """Whether a model is Sequential or Functional, so layers are all of it."""
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def renewed(layer, edit=copying.deepcopy):
    """Returns a layer or operation made from the configuration of one."""
    if not isinstance(layer, keras.layers.Layer) or isinstance(
        layer, keras.layers.Lambda
    ):
        return renewing.edited(layer)
    return type(layer).from_config(edit(layer.get_config()))


def twin(model, edit=copying.deepcopy, renew=renewed, verb="copied"):
    """Makes a model a second time, with its weights, not compiled: a `Twin`.

    A class with a configuration of its own is made from that, any other is
    made layer by layer. What no configuration holds is carried over: what
    layers have adapted to, files such as vocabularies, trainable flags, and
    attributes of models. Masks that are held become zeros in the copy, and
    masks where its layers can hold them.

    Args:
        edit: Function from the configuration of a model to that of its copy,
            and of layers inside it. `None` where that cannot say what is
            wanted: then any model is made layer by layer.
        renew: Function from a layer or operation to the one in its place,
            where a model is made layer by layer.
        verb: String, what is done, for messages.

    Raises:
        NotCopyable: If configurations do not make the same weights again.

    Warns:
        UserWarning: If the copy of a model is of another class.
    """
    weights_lib.check_built(model)
    copier = _Copier(edit, renew)
    try:
        with alike.known(internals.layers.flat(model)):
            copy = copier(model)
        made = _matched(model, copy, copier.pairs)
    except NotCopyable as error:
        raise NotCopyable(
            f"Model '{model.name}' cannot be {verb}: {error}"
        ) from error
    source = weights_lib.variables(model)
    _copy_values(source, made.variables)
    images = copier.images | {
        id(variable): made.variables[key] for key, variable in source.items()
    }
    for old, new in copier.layers():
        state.carry(old, new, images)
    return made


class _Copier:
    """Makes every layer once, so that what is shared stays shared.

    Attributes:
        pairs: List of a layer, or a model made as a whole, and its copy:
            inside one, weights are called the same.
        images: Dict from `id` of a layer or operation to its copy.
    """

    def __init__(self, edit, renew):
        self.edit, self.renew = edit, renew
        self.pairs, self.images, self._models = [], {}, []

    def __call__(self, layer):
        if id(layer) not in self.images:
            make = self._model if isinstance(layer, keras.Model) else self._one
            self.images[id(layer)] = make(layer)
        return self.images[id(layer)]

    def layers(self):
        """Returns pairs of layers at any depth, from the outside inwards."""
        found = self._models[::-1]
        for old, new in self.pairs:
            below = weights_lib.layers(new)
            found += [
                (layer, below[key])
                for key, layer in weights_lib.layers(old).items()
                if key in below
            ]
        return found

    def _one(self, layer):
        try:
            new = self.renew(layer)
        # Code of the user's: whatever it raises is the reason.
        except Exception as error:
            raise NotCopyable(
                f"its layer '{layer.name}' cannot be made from the "
                f"configuration of `{type(layer).__name__}` ({_line(error)})"
            ) from error
        if isinstance(layer, keras.layers.Layer):
            self._add(layer, new)
        return new

    def _add(self, old, new):
        self.pairs.append((old, new))
        below = weights_lib.layers(new)
        self.images |= {
            id(layer): below[key]
            for key, layer in weights_lib.layers(old).items() if key in below
        }

    def _model(self, model):
        if functional.is_made_of_layers(model):
            return self._by_layers(model)
        reason = "a class of its own cannot be made with other layers"
        if self.edit is not None:
            try:
                return self._by_config(model)
            except NotCopyable as error:
                reason = str(error)
        if not can_clone(model):
            raise NotCopyable(reason)
        new = self._by_layers(model)
        warnings.warn(
            f"The copy of '{model.name}' is a plain `{type(new).__name__}` "
            "model with the same layers and weights, without the methods and "
            f"attributes of `{type(model).__name__}`: {reason}.",
            stacklevel=7,
        )
        return new

    def _by_config(self, model):
        try:
            new = alike.remade(model, self.edit)
        # Code of the user's: whatever it raises is the reason.
        except Exception as error:
            raise NotCopyable(
                f"class `{type(model).__name__}` cannot be made from its "
                f"configuration ({_line(error)})"
            ) from error
        difference = alike.difference(model, new, self.edit)
        if difference:
            raise NotCopyable(difference)
        self._add(model, new)
        return new

    def _by_layers(self, model):
        if internals.graphs.is_functional(model):
            try:
                inlining.check_reads(model, model)
            except functional.Unreadable as error:
                raise NotCopyable(str(error)) from error
        # Keras would compile the clone with a copy of the optimizer that
        # holds the masks of the original.
        compiled, model.compiled = model.compiled, False
        try:
            new = keras.models.clone_model(model, clone_function=self)
        finally:
            model.compiled = compiled
        is_sequential = isinstance(model, keras.Sequential)
        if is_sequential and functional.is_made_of_layers(model):
            new = type(model)(
                internals.graphs.layers_of(new), name=model.name
            )
        self._models.append((model, new))
        return new


def _line(error):
    """What went wrong at first, in a line."""
    while error.__context__ is not None:
        error = error.__context__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _matched(model, copy, pairs):
    names = {id(v): k for k, v in weights_lib.variables(model).items()}
    new_names = {id(v): k for k, v in weights_lib.variables(copy).items()}
    keys, found = {}, {}
    for old, new in pairs:
        variables = weights_lib.variables(new)
        for name, variable in weights_lib.variables(old).items():
            image = variables.get(name)
            if image is not None and id(image) in new_names:
                keys[names[id(variable)]] = new_names[id(image)]
                found[names[id(variable)]] = image
    lost = set(names.values()) - set(keys)
    lost |= set(new_names.values()) - set(keys.values())
    if lost:
        raise NotCopyable(
            "the configuration of its layers does not make the same weights "
            f"again. Only one has: {sorted(lost)[:8]}"
        )
    return Twin(copy, found, keys)


def _copy_values(source, target):
    for key, variable in source.items():
        held = constraints.keep_of(variable)
        keep = constraints.keep_of(target[key])
        if held is None:
            # Two models of one array: JAX would give it away in both.
            target[key].assign(ops.copy(variable))
            continue
        # What a pruned weight is counts for nothing, whoever changed it.
        target[key].assign(constraints.masked(held.mask, variable))
        if keep is not None:
            keep.mask.assign(ops.copy(held.mask))
