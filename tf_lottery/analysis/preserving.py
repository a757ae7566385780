"""Preservation of a model that is looked at, or even trained."""

import contextlib

from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.weights import snapshots


@contextlib.contextmanager
def preserved(model):
    """Gives every variable of a model its value back in the end.

    Masks are put aside meanwhile: what is looked at has its own zeros.
    """
    weights_lib.check_built(model)
    holding.synchronise(model)
    variables = list(weights_lib.variables(model).values())
    values = snapshots.capture(variables)
    try:
        with holding.aside(model):
            yield
    finally:
        snapshots.restore(variables, values)


@contextlib.contextmanager
def trainable(model):
    """Compiles a model with a fresh optimizer; undoes all of it in the end.

    The model's own optimizer, metrics and masks are put aside meanwhile.
    """
    optimizers.check_compiled(model)
    with preserved(model), contextlib.ExitStack() as undone:
        undone.callback(_restore_attributes, model, dict(vars(model)))
        copies.compile_like(model, model, with_state=False)
        yield


def _restore_attributes(model, attributes):
    # Beyond `compile` and `fit`: a traced step belongs to its optimizer.
    vars(model).clear()
    vars(model).update(attributes)
