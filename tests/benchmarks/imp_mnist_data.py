"""Child of `imp_mnist`: writes MNIST to an .npz file. Argument: its path."""

import sys

import numpy as np
import tensorflow_datasets as tfds

builder = tfds.builder("mnist")
builder.download_and_prepare()
whole = tfds.as_numpy(builder.as_dataset(batch_size=-1, as_supervised=True))
(x, y), (x_test, y_test) = whole["train"], whole["test"]
np.savez(sys.argv[1], x_train=x, y_train=y, x_test=x_test, y_test=y_test)
