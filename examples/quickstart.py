"""Find a lottery ticket in ten lines, save it, and train it again.

Real data (1,797 handwritten digits) comes with the package. Takes about ten
seconds:

    python examples/quickstart.py
"""

import pathlib
import tempfile

import keras

import tf_lottery as tfl
from tf_lottery import experiments


def make_model():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(300, "relu", name="fc1"),
            keras.layers.Dense(100, "relu", name="fc2"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1.2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main():
    keras.utils.set_random_seed(0)
    data = experiments.load("digits")
    train = (data.x_train, data.y_train)
    validation = (data.x_val, data.y_val)

    # Round 0 trains the dense model, then seven times: prune, rewind, train.
    model = make_model()
    imp = tfl.IterativeMagnitudePruning(
        rounds=7,
        epochs_per_round=12,
        rate={"*": 0.3, "logits": 0.15},
        monitor="val_accuracy",
    )
    model.fit(
        *train,
        validation_data=validation,
        epochs=imp.epochs,
        batch_size=50,
        callbacks=[imp],
        verbose=0,
    )
    print(tfl.summary(model))

    ticket = imp.candidate_ticket()
    if ticket is None:
        print("No ticket matched the dense model: try a smaller rate.")
        return
    print(
        f"At {ticket.density:.1%} density it matches the dense model; as a "
        f"winning ticket it is {ticket.verdict}."
    )

    # A ticket is one file; its masks hold in every later fit.
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "digits.ticket"
        ticket.save(path)
        print(f"Its file takes {path.stat().st_size:,} bytes.")
        ticket = tfl.Ticket.load(path)
    model = make_model()
    ticket.apply(model)
    model.fit(*train, epochs=12, batch_size=50, verbose=0)
    accuracy = model.evaluate(data.x_test, data.y_test, verbose=0)[1]
    print(f"Trained alone it reaches {accuracy:.1%} on the test images.")

    # A plain Keras model, zeros baked in, for whoever has no tf_lottery.
    plain = tfl.strip(model)
    print(f"Stripped: {type(plain.optimizer).__name__}, no masks left.")


if __name__ == "__main__":
    main()
