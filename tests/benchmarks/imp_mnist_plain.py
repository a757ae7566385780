"""Child of `imp_mnist`: what a user writes, arrays and one callback."""

import sys

import keras
import numpy as np

import tf_lottery as tfl

with np.load(sys.argv[1]) as data:
    x, x_test = (
        (data[name].reshape(-1, 784).astype("float32") / 255 - 0.1307) / 0.3081
        for name in ("x_train", "x_test")
    )
    y, y_test = data["y_train"], data["y_test"]

model = keras.Sequential(
    [
        keras.Input((784,)),
        keras.layers.Dense(300, "relu"),
        keras.layers.Dense(100, "relu"),
        keras.layers.Dense(10, name="logits"),
    ]
)
model.compile(
    keras.optimizers.SGD(0.1),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
imp = tfl.IterativeMagnitudePruning(
    rounds=3, epochs_per_round=2, rate=0.2, exclude="logits",
    directory=sys.argv[2], verbose=0,
)
model.fit(
    x, y, batch_size=128, epochs=imp.epochs, callbacks=[imp],
    validation_data=(x_test, y_test), verbose=0,
)
found = [100 * result.metrics["val_accuracy"] for result in imp.results]
print("test accuracy", *(f"{accuracy:.1f}" for accuracy in found))
