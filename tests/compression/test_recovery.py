"""What a smaller model gets back: statistics, and training."""

import keras
import numpy as np

from tf_lottery.compression import recovery


def test_statistics_of_several_inputs_in_a_list():
    """Inputs alone, as a list of two, would look like inputs and labels."""
    inputs = [keras.Input((2,)), keras.Input((2,))]
    added = keras.layers.Add()(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(added))
    examples = [np.ones((6, 2), "float32"), np.full((6, 2), 2, "float32")]
    recover = recovery.Recovery(model, None, examples, 0, None, 4, 0)
    recover(model)
    np.testing.assert_allclose(model.get_weights()[2], [3, 3])


def test_training_on_tensors():
    x = keras.ops.convert_to_tensor(np.arange(6.0).reshape(6, 1))
    steps, batches = recovery._batches((x, x[:, 0]), 4, 0)
    read = [y for (_, (_, y)) in zip(range(steps), batches())]
    assert sorted(np.concatenate(read)) == [0, 1, 2, 3, 4, 5]
