"""The arguments of `SparsityBoard`, and the TensorBoard that it needs."""

import numbers

from tf_lottery.utils import checks

# As in setup.cfg.
_TENSORBOARD = (2, 18)


def check_tensorboard():
    """Raises an `ImportError` unless TensorBoard is there and new enough."""
    wanted = ".".join(map(str, _TENSORBOARD))
    how = f"Install it: pip install 'tensorboard>={wanted}'"
    try:
        from tensorboard import version
    except ImportError as error:
        raise ImportError(
            f"`SparsityBoard` needs TensorBoard, which is missing. {how}"
        ) from error
    found = tuple(int(part) for part in version.VERSION.split(".")[:2])
    if found < _TENSORBOARD:
        raise ImportError(
            f"`SparsityBoard` needs TensorBoard {wanted} or newer. "
            f"Received: version {version.VERSION}. {how}"
        )


def path(name, value):
    """Returns a path as a string."""
    checks.path(name, value)
    return str(value)


def freq(name, value):
    """Returns a frequency, an integer of at least 0."""
    checks.whole(name, value, 0, note=" (0: never)")
    return value


def hparams(name, value):
    """Returns a dict of hyperparameters, empty for `None`."""
    value = {} if value is None else value
    fits = isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(item, (str, numbers.Real))
        for key, item in value.items()
    )
    if not fits:
        raise TypeError(
            f"Argument `{name}` must be a dict from name to number, string "
            f"or boolean. Received: {name}={value!r}"
        )
    return dict(value)
