"""Recovery: statistics anew, and training after a teacher."""

import itertools

import keras
import numpy as np
from keras import ops

from tf_lottery import data as data_lib
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery.analysis import recalibration
from tf_lottery.callbacks import identity
from tf_lottery.compression import places
from tf_lottery.copies import compiling
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.utils import backends


class Recovery:
    """Trains small models to do what the big one does.

    The student learns the outputs of the teacher: by their squared distance
    (Ba and Caruana 2014, https://arxiv.org/abs/1312.6184), or, where they are
    probabilities, by the divergence from them (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531). Without a teacher it learns the labels,
    by the loss it is compiled with. The optimizer begins anew at the learning
    rate that it was made with, which falls to zero along a cosine, after the
    learning-rate rewinding of Renda et al. 2020,
    https://arxiv.org/abs/2003.02389.

    Args:
        model: The big `keras.Model`, compiled if there are epochs.
        train: Arrays `(x, y)` or batches of such.
        inputs: Array or a structure of arrays, for statistics.
        epochs: Integer; 0 estimates the statistics of batch normalisation
            anew, and nothing else.
        teacher: A `keras.Model`, or `None`.
    """

    def __init__(
        self, model, train, inputs, epochs, teacher, batch_size, seed
    ):
        self._model = model
        self._inputs, self._epochs = inputs, epochs
        self._batches = epochs and _batches(train, batch_size, seed)
        self._teach = teacher and backends.compiled(
            lambda x: teacher(x, training=False)
        )

    def __call__(self, small):
        """Recovers a smaller model in place; masks that it holds, hold."""
        self.recalibrate(small)
        if not self._epochs:
            return
        steps, batches = self._batches
        masks = holding.masks_of(small)
        optimizer = _optimizer(self._model.optimizer, self._epochs * steps)
        if self._teach is None:
            compiling.compile_like(small, self._model, with_state=False)
            internals.models.set_optimizer(small, optimizer)
        else:
            small.compile(optimizer, self._loss(), jit_compile=False)
        holding.hold(small, masks)
        small.fit(
            (self._taught(batch) for batch in batches()),
            epochs=self._epochs, steps_per_epoch=steps, shuffle=False,
            verbose=0,
        )
        compiling.compile_like(small, self._model, with_state=False)
        holding.hold(small, masks)
        # Moving averages lag behind a short training.
        self.recalibrate(small)

    def recalibrate(self, small):
        """Estimates the statistics of batch normalisation anew."""
        # A list of inputs alone would be taken for inputs and labels.
        labels = np.zeros(batches_lib.len_of(self._inputs))
        recalibration.recalibrate(small, (self._inputs, labels))

    def _loss(self):
        some = keras.tree.map_structure(lambda a: a[:32], self._inputs)
        return keras.tree.map_structure(_loss_of, self._teach(some))

    def _taught(self, batch):
        if self._teach is None:
            return batch
        return batch[0], self._teach(batch[0])


def identity_of(model, train, teacher):
    """Returns what a training follows from, besides the weights it begins at.
    """
    return {
        "loss": identity.digest(identity.of_training(model)),
        "optimizer": identity.digest(
            identity.of_optimizer(_inner(model.optimizer))
        ),
        "examples": places.digest(
            array
            for batch in batches_lib.batches_of(train, criterion="compression")
            for array in keras.tree.flatten(batch) if array is not None
        ),
        "teacher": places.digest(teacher.variables) if isinstance(
            teacher, keras.Model
        ) else teacher,
    }


def _batches(train, batch_size, seed):
    """Returns the number of batches, and a function that begins to read."""
    if isinstance(train, (tuple, list)):
        x, *rest = keras.tree.map_structure(
            lambda a: None if a is None else ops.convert_to_numpy(a),
            list(train),
        )
        replay = data_lib.Replay(x, tuple(rest), batch_size, seed)

        def replayed():
            for step in itertools.count():
                x, rest = replay.batch(0, step)
                yield x, *rest

        return replay.num_batches, replayed
    found = batches_lib.batches_of(train, criterion="compression")

    def repeated():
        for _ in itertools.count():
            for batch in found:
                yield tuple(part for part in batch if part is not None)

    return sum(1 for _ in found), repeated


def _loss_of(outputs):
    values = ops.convert_to_numpy(outputs)
    if values.shape[-1] == 1:
        inside = (values >= 0).all() and (values <= 1).all()
        return "binary_crossentropy" if inside else "mse"
    shares = (values >= 0).all() and np.allclose(
        values.sum(-1), 1, atol=1e-2
    )
    return "kl_divergence" if shares else "mse"


def _optimizer(optimizer, steps):
    """Returns an optimizer like another one, with a rate that falls."""
    optimizer = _inner(optimizer)
    rate = internals.optimizers.learning_rate(optimizer)
    if callable(rate) and not isinstance(rate, keras.Variable):
        rate = rate(0)
    first = float(ops.convert_to_numpy(rate))
    return type(optimizer).from_config(optimizer.get_config() | {
        "learning_rate": keras.optimizers.schedules.CosineDecay(first, steps)
    })


def _inner(optimizer):
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer
