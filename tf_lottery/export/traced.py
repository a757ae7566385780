"""Keras models traced with a fixed or an open batch, weights as constants."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from tf_lottery import quantize
from tf_lottery.utils.backends import tf

_PRODUCTS = ("BatchMatMulV2", "BatchMatMulV3", "Einsum")


@dataclasses.dataclass(eq=False)
class Source:
    """A plain Keras model and the shapes it is traced with.

    Attributes:
        model: `keras.Model` without masks: the zeros are in its weights. Of
            the class that was given, where that can be made again.
        structure: What the model is called with, of indices into `specs`.
        signatures: Dict from name to `tf.function` with an input signature,
            or `None`: then the file has the model's own call alone.
        notes: List of strings, what was changed.
        aware: `Source` of the model of `tf_lottery.quantize.aware` that
            this one was made from, for files of int8, or `None`.
        reference: Function of inputs that returns the outputs of the model
            under its own backend; `None` where that is TensorFlow.
        inlined: Boolean, whether functions that Keras compiles on their own,
            such as grouped convolutions, become part of the frozen one.
    """

    model: keras.Model
    specs: list
    structure: object
    signatures: dict | None = None
    notes: list = dataclasses.field(default_factory=list)
    aware: "Source | None" = None
    reference: Callable | None = None
    inlined: bool = False
    _frozen: object = None
    _outputs: object = None

    @property
    def name(self):
        """String, the model's name."""
        return self.model.name

    @property
    def input_names(self):
        """List of strings, in the order of `specs`."""
        return [spec.name for spec in self.specs]

    @property
    def output_names(self):
        """List of strings: of a dict of outputs its keys, else numbered."""
        self.freeze()
        outputs = self._structured
        if isinstance(outputs, dict):
            return sorted(outputs)
        return [f"output_{i}" for i in range(len(self._frozen.outputs))]

    @property
    def multiplies(self):
        """Boolean, whether it may multiply activations, as attention does."""
        return any(
            operation.type in _PRODUCTS
            for operation in self.freeze().graph.get_operations()
        )

    @property
    def loops(self):
        """Boolean, whether its graph has a loop, as over time."""
        return self._frozen is not None and any(
            "While" in node.op
            for node in self._frozen.graph.as_graph_def().node
        )

    def call(self, inputs):
        """Returns the outputs of the Keras model as a list of arrays."""
        inputs = self.arranged(inputs)
        if self.reference is not None:
            outputs = self.reference(inputs)
        else:
            outputs = self.model(inputs, training=False)
        self._outputs = keras.tree.map_structure(lambda _: None, outputs)
        flat = keras.tree.flatten(outputs)
        return [np.asarray(keras.ops.convert_to_numpy(o)) for o in flat]

    def structured(self, outputs):
        """Returns a list of outputs as the Keras model returned its own."""
        return keras.tree.pack_sequence_as(self._outputs, outputs)

    def freeze(self):
        """Returns a `ConcreteFunction` with the weights as constants."""
        if self._frozen is None:
            concrete = self._traced()
            if self.inlined and any(
                "_XlaMustCompile" in function.attr for function
                in concrete.graph.as_graph_def().library.function
            ):
                tf.config.run_functions_eagerly(True)
                try:
                    concrete = self._traced()
                finally:
                    tf.config.run_functions_eagerly(False)
            self._structured = concrete.structured_outputs
            self._frozen = _constant(concrete)
        return self._frozen

    def _traced(self):
        function = tf.function(
            lambda *inputs: self.model(self.arranged(inputs), training=False),
            input_signature=self.specs,
            autograph=False,
        )
        with quantize.frozen(self.model):
            return function.get_concrete_function()

    def call_frozen(self, inputs):
        """Returns the outputs of the frozen function, structured."""
        outputs = self.freeze()(*inputs)
        return tf.nest.pack_sequence_as(self._structured, outputs)

    def save(self, directory):
        """Writes a SavedModel with the signatures, weights as constants.

        Variables of Keras 3 would become variables of TFLite, without the
        values.
        """
        functions = {
            name: _constant_signature(function)
            for name, function in self.signatures.items()
        }
        module = tf.Module()
        module.functions = list(functions.values())
        tf.saved_model.save(module, directory, signatures=functions)

    def arranged(self, inputs):
        """Returns a list, one for each input, as the model is called."""
        return keras.tree.map_structure(lambda i: inputs[i], self.structure)


def _constant(concrete):
    from tensorflow.python.framework import convert_to_constants

    # Loops as such: TFLite has them, but not their lowered form.
    return convert_to_constants.convert_variables_to_constants_v2(
        concrete, lower_control_flow=False
    )


def _constant_signature(function):
    concrete = function.get_concrete_function()
    frozen, outputs = _constant(concrete), concrete.structured_outputs
    return tf.function(
        lambda *inputs: tf.nest.pack_sequence_as(outputs, frozen(*inputs)),
        input_signature=concrete.structured_input_signature[0],
        autograph=False,
    )
