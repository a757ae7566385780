"""What makes a run repeatable."""


def enable():
    """Makes a run repeatable on a GPU; on a CPU it is without this."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
