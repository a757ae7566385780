"""Variables of an optimizer that it keeps by position, and its counter."""

import keras


def kind(optimizer):
    """Returns its class; that of `keras.optimizers` for those of torch."""
    found = type(optimizer)
    if found.__module__.startswith("keras.src.backend.torch."):
        return getattr(keras.optimizers, found.__name__)
    return found


def variables(optimizer):
    """Returns the variables that an optimizer trains, in its order."""
    return optimizer._trainable_variables


def averages(optimizer):
    """Returns the moving averages of those variables, in the same order."""
    return optimizer._model_variables_moving_average


def batches(optimizer):
    """Returns the counter of batches; `iterations` counts steps."""
    return optimizer._iterations


def learning_rate(optimizer):
    """Returns the variable or the schedule of the learning rate."""
    return optimizer._learning_rate


def factors(optimizer, variable):
    """Returns Adafactor's averages over the rows and columns of a variable.

    Returns:
        Tuple of two variables, or `None` for another optimizer.
    """
    if not isinstance(optimizer, keras.optimizers.Adafactor):
        return None
    index = optimizer._get_variable_index(variable)
    return optimizer._r[index], optimizer._c[index]
