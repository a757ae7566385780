"""Which strategies of `tf.distribute` a `fit` with masks can run under."""

_REASONS = {
    "MultiWorkerMirroredStrategy": (
        "Keras 3 cannot `fit` under it "
        "(https://github.com/keras-team/keras/issues/20585). Hold masks in a "
        "`strategy.run` loop of your own, as examples/multi_worker_loop.py "
        "does; docs/several_machines.md tells of other ways"
    ),
    "ParameterServerStrategy": (
        "its workers step at different times, so that there is no moment at "
        "which all weights can be pruned and rewound"
    ),
    "experimental.CentralStorageStrategy": "it was never tried with masks",
    "TPUStrategy": "it was never tried with masks",
}


def check(model):
    """Raises a `ValueError` unless `model` may train with masks in `fit`.

    Args:
        model: A compiled `keras.Model`.
    """
    # Only under TensorFlow does a model have a strategy.
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None:
        return
    import tensorflow as tf

    for name, reason in _REASONS.items():
        owner = tf.distribute
        for part in name.split("."):
            owner = getattr(owner, part)
        if isinstance(strategy, owner):
            raise ValueError(
                f"Model '{model.name}' cannot be pruned in `fit` under "
                f"`tf.distribute.{name}`: {reason}. Received: {strategy}. "
                "Expected: `tf.distribute.MirroredStrategy`, "
                "`tf.distribute.OneDeviceStrategy`, or none."
            )
