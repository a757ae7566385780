"""Models and weights from files, with their masks."""

import zipfile
from collections.abc import Mapping
from typing import Any

import keras

from tf_lottery import holding
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.holding import carrier
from tf_lottery.utils import checks
from tf_lottery.utils import types
from tf_lottery.weights import snapshots


def load_model(
    filepath: types.Path,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> keras.Model:
    """Loads a model that Keras saved, with the masks it held.

    As `keras.saving.load_model`, which restores masks where it restores the
    optimizer, and of every class: also of one that overrides `compile`, as
    the tasks of KerasHub do, of one that was saved before it was compiled,
    and with `compile=False`. Masks are enforced from the next `compile` on
    where the model is not compiled.

    Args:
        filepath: Path of a `.keras` file.
        custom_objects: Dict from name to class or function that Keras does
            not know. Defaults to `None`.
        compile: Boolean, whether to compile the model as it was. Defaults to
            `True`.
        safe_mode: Boolean, whether to refuse files that run code of their
            own. Defaults to `True`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If the file is no model, or its masks do not fit it.

    Example:

    >>> import os, tempfile
    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> model.compile("adam", "mse")
    >>> _ = tfl.prune(model, sparsity=0.75)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
    >>> model.save(path)
    >>> int(tfl.masks_of(tfl.load_model(path))["fc/kernel"].sum())
    10
    """
    checks.path("filepath", filepath)
    checks.optional(
        checks.mapping, "custom_objects", custom_objects, "name to class"
    )
    checks.flag("compile", compile)
    checks.flag("safe_mode", safe_mode)
    try:
        with carrier.asked_for():
            return keras.saving.load_model(
                filepath, custom_objects, compile=compile, safe_mode=safe_mode
            )
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"File '{filepath}' is damaged. Received: {error}"
        ) from error


def load_weights(
    model: keras.Model, filepath: types.Path, **kwargs: Any
) -> None:
    """Loads weights that Keras saved into a model, with their masks.

    As `model.load_weights`. Masks of the file take the place of those the
    model holds; a file without masks leaves these as they are, and the
    weights that they prune are zero. If the file does not fit, the model is
    as it was.

    Args:
        model: A built `keras.Model`.
        filepath: Path of a `.weights.h5` or `.keras` file.
        **kwargs: Passed to `model.load_weights`.

    Raises:
        ValueError: If the file does not fit the model.
    """
    checks.path("filepath", filepath)
    before, masks = holding.capture(model, step=0), holding.masks_of(model)
    try:
        with carrier.asked_for():
            model.load_weights(filepath, **kwargs)
    except BaseException:
        _restore(model, before, masks)
        raise


def _restore(model, snapshot, masks):
    variables = weights_lib.variables(model)
    holding.let_go(model, holding.masks_of(model).keys() - masks.keys())
    # The masks of the file may prune what the model kept.
    holding.place(model, masks)
    snapshots.restore(
        [variables[key] for key in snapshot.weights],
        snapshot.weights.values(),
    )
    if snapshot.optimizer:
        # Holding the masks of the file may have built it; new slots are fresh.
        state = optimizers.state(model.optimizer)[:len(snapshot.optimizer)]
        snapshots.restore(state, snapshot.optimizer)
