"""Variables of an optimizer that it keeps by position, and its counter."""

import operator

import keras

# The variables that an optimizer trains, in its order, and their moving
# averages; the counter of batches, where `iterations` counts steps; the
# variable or the schedule of the learning rate.
variables = operator.attrgetter("_trainable_variables")
averages = operator.attrgetter("_model_variables_moving_average")
batches = operator.attrgetter("_iterations")
learning_rate = operator.attrgetter("_learning_rate")


def kind(optimizer):
    """Returns its class; that of `keras.optimizers` for those of torch."""
    found = type(optimizer)
    if found.__module__.startswith("keras.src.backend.torch."):
        return getattr(keras.optimizers, found.__name__)
    return found


def factors(optimizer, variable):
    """Returns Adafactor's averages of rows and columns; `None` for others."""
    if not isinstance(optimizer, keras.optimizers.Adafactor):
        return None
    index = optimizer._get_variable_index(variable)
    return optimizer._r[index], optimizer._c[index]
