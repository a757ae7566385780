"""Rewind to initialisation, or to a little later?

Larger networks have no winning ticket at initialisation, but have one a few
per cent into training (arXiv:1903.01611). This example says "later" in three
ways and compares them with initialisation, on a small residual network and
handwritten digits. It trains far too little for a verdict. Takes about half a
minute:

    python examples/late_rewinding.py
"""

import keras
from rich import console
from rich import table

import tf_lottery as tfl
from tf_lottery import experiments


def make_model():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(16, 3, padding="same", name="entry")(inputs)
    for i in range(2):
        y = keras.layers.BatchNormalization(name=f"norm{i}")(x)
        y = keras.layers.Activation("relu")(y)
        y = keras.layers.Conv2D(16, 3, padding="same", name=f"conv{i}")(y)
        x = keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))
    model.compile(
        # The schedule restarts where training is rewound to.
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(0.1, 160), momentum=0.9
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def final_accuracies(rewind_to, data):
    keras.utils.set_random_seed(0)
    model = make_model()
    imp = tfl.IterativeMagnitudePruning(
        rounds=3,
        epochs_per_round=8,
        rate=0.5,
        rewind_to=rewind_to,
        exclude=("logits",),
        verbose=0,
    )
    model.fit(
        data.x_train,
        data.y_train,
        validation_data=(data.x_val, data.y_val),
        epochs=imp.epochs,
        batch_size=50,
        callbacks=[imp],
        verbose=0,
    )
    return imp.results


def main():
    data = experiments.load("digits")
    runs = {
        str(point): final_accuracies(point, data)
        for point in (0, "8it", 0.1, "1ep")
    }
    shown = table.Table(title="Validation accuracy after each round")
    shown.add_column("density", justify="right")
    for point in runs:
        shown.add_column(f"rewind_to={point}", justify="right")
    for records in zip(*runs.values()):
        shown.add_row(
            f"{records[0].density:.1%}",
            *(f"{r.metrics['val_accuracy']:.1%}" for r in records),
        )
    console.Console().print(shown)


if __name__ == "__main__":
    main()
