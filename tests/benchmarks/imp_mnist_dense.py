"""Child of `imp_mnist`: eight dense epochs in plain Keras, the control."""

import sys

import keras
import numpy as np

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
history = model.fit(
    x, y, batch_size=128, epochs=8, validation_data=(x_test, y_test),
    verbose=0,
)
found = history.history["val_accuracy"][-1]
print(f"test accuracy {100 * found:.1f}")
