"""Samples that files are run on, and the outputs expected."""

import dataclasses

import keras
import numpy as np

from tf_lottery.export import latency


@dataclasses.dataclass(eq=False)
class Samples:
    """What files are run on, and what the Keras model says to it.

    Outputs have calls on the first axis; `aware` are those of the model that
    was trained for int8, or `None`.
    """

    inputs: list
    batch: int
    keras: list
    aware: list | None = None

    @classmethod
    def of(cls, source, arrays, batch):
        """Calls the Keras model of a `traced.Source`, a batch at a time."""
        def outputs(source):
            return list(map(np.stack, _calls(source, arrays, batch)))

        return cls(
            arrays, batch, outputs(source),
            source.aware and outputs(source.aware),
        )

    def expected(self, quantize):
        """Returns the outputs that a file of a data type comes near to."""
        return (quantize == "int8" and self.aware) or self.keras

    def run(self, runtime, content):
        """Returns the outputs of a file in a `children.Runtime`."""
        return runtime.run(content, self.inputs, self.batch)


@dataclasses.dataclass(eq=False)
class SignatureSamples:
    """The same for a file of several signatures, each called once.

    All are dicts by name; `keras` are the outputs of all in a row.
    """

    inputs: dict
    keras: list

    @classmethod
    def of(cls, source):
        """Calls the functions of a `traced.Source` with random inputs."""
        rng, inputs, outputs = np.random.default_rng(0), {}, []
        for key, function in sorted(source.signatures.items()):
            concrete = function.get_concrete_function()
            inputs[key] = {
                spec.name: latency.random_array(
                    rng, [n or 1 for n in spec.shape], spec.dtype.name
                )
                for spec in concrete.structured_input_signature[0]
            }
            outputs += _flat(function(*inputs[key].values()))
        return cls(inputs, outputs)

    def expected(self, quantize):
        """Returns the outputs that a file of a data type comes near to."""
        return self.keras

    def run(self, runtime, content):
        """Returns the outputs of a file, in the order of `keras`."""
        outputs = []
        for key, inputs in self.inputs.items():
            outputs += _flat(runtime.run_signature(content, key, inputs))
        return outputs


def _flat(outputs):
    """Returns outputs in the order of their names in a signature."""
    if not isinstance(outputs, dict):
        outputs = keras.tree.flatten(outputs)
        outputs = {f"output_{i}": value for i, value in enumerate(outputs)}
    names = sorted(outputs, key=lambda name: (len(name), name))
    return [np.asarray(outputs[name]) for name in names]


def outputs_of(runtime, content, arrays, batch):
    """Returns the outputs of a file for all samples, as a list of arrays."""
    found = runtime.run(content, _filled(arrays, batch), batch)
    return [
        output.reshape(-1, *output.shape[2:])[:len(arrays[0])]
        for output in found
    ]


def keras_outputs(source, arrays, batch):
    """Returns those of the Keras model of a `traced.Source`."""
    calls = _calls(source, _filled(arrays, batch), batch)
    return [np.concatenate(parts)[:len(arrays[0])] for parts in calls]


def _calls(source, arrays, batch):
    """The parts of each output, a batch at a time."""
    return zip(*(
        source.call([array[start:start + batch] for array in arrays])
        for start in range(0, len(arrays[0]), batch)
    ))


def _filled(arrays, batch):
    """Repeats the last sample until the batches are full."""
    padding = -len(arrays[0]) % batch
    return [
        np.concatenate([a, np.repeat(a[-1:], padding, axis=0)])
        for a in arrays
    ]
