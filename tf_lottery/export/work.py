"""Work: how often the operators of a file run, and what they multiply."""

import collections
import math

from tf_lottery.export import flatbuffer

# Operators that multiply, in ways that are not known here; Flex ones may.
_UNKNOWN = (
    "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN",
    "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
)


class Work:
    """The multiplications of one call of a file.

    Args:
        model: `ModelT`.
        shapes: Dict from the number of a tensor of the first subgraph to its
            shape in a call; others are those of the file.

    Attributes:
        products: Integer, those by what is no weight of
            `flatbuffer.weights`: in attention, and by kernels of Conv3D.
        unknown: Dict from a kind of operators to how many are not counted, or,
            of loops, counted as one step.
    """

    def __init__(self, model, shapes):
        self._model, self._shapes = model, shapes
        self.unknown = collections.Counter()
        self._runs = self._counted()
        weights = {id(w.operator) for w in flatbuffer.weights(model)}
        self.products = sum(
            self._runs[number] * self._products(number, operator)
            for number, operator in flatbuffer.operators(model)
            if id(operator) not in weights
        )

    def by(self, weight):
        """Returns the multiplications by a `flatbuffer.Weight`."""
        operator = weight.operator
        index = operator.outputs[0]
        if weight.kind == "TRANSPOSE_CONV":
            index = operator.inputs[2]
        positions = math.prod(self._shape(weight.graph, index)[:-1])
        return self._runs[weight.graph] * positions * math.prod(weight.shape)

    def _kind(self, operator):
        return flatbuffer.operator_name(self._model, operator)

    def _shape(self, number, index):
        shape = self._model.subgraphs[number].tensors[index].shape
        if number == 0:
            shape = self._shapes.get(int(index), shape)
        return [] if shape is None else list(map(int, shape))

    def _products(self, number, operator):
        kind = self._kind(operator)
        if kind in _UNKNOWN or kind.startswith("Flex"):
            self.unknown[kind] += 1
        if kind not in (
            "BATCH_MATMUL", "FULLY_CONNECTED", "CONV_3D", "CONV_3D_TRANSPOSE"
        ):
            return 0
        shapes = [self._shape(number, i) for i in operator.inputs if i >= 0]
        output = self._shape(number, operator.outputs[0])
        if kind == "CONV_3D":
            return math.prod(output[:-1]) * math.prod(shapes[1])
        if kind == "CONV_3D_TRANSPOSE":
            return math.prod(shapes[2][:-1]) * math.prod(shapes[1])
        if kind == "FULLY_CONNECTED":
            return math.prod(output) * shapes[1][-1]
        turned = operator.builtinOptions.adjX
        return math.prod(output) * shapes[0][-2 if turned else -1]

    def _counted(self):
        """Returns how often each subgraph runs, by its number."""
        callers, runs = collections.defaultdict(list), {}
        for number, operator in flatbuffer.operators(self._model):
            options, kind = operator.builtinOptions, self._kind(operator)
            if kind == "WHILE":
                steps = self._steps(number, operator)
                callers[options.bodySubgraphIndex].append((number, steps))
            elif kind == "IF":
                callers[options.thenSubgraphIndex].append((number, 1))
                callers[options.elseSubgraphIndex].append((number, 1))

        def count(number):
            if number not in runs:
                # Of those that call themselves, which no runtime takes.
                runs[number] = 1
                if callers[number]:
                    runs[number] = sum(
                        steps * count(caller)
                        for caller, steps in callers[number]
                    )
            return runs[number]

        return [count(n) for n in range(len(self._model.subgraphs))]

    def _steps(self, number, loop):
        """Returns how often a loop runs that counts up to a number."""
        graphs, options = self._model.subgraphs, loop.builtinOptions
        test = graphs[options.condSubgraphIndex]
        body = graphs[options.bodySubgraphIndex]
        made = {int(o): op for op in body.operators for o in op.outputs}
        places = {int(index): place for place, index in enumerate(test.inputs)}

        def given(place):
            return self._value(graphs[number], loop.inputs[place])

        def limit(index):
            place = places.get(int(index))
            if place is None:
                return self._value(test, index)
            stays = body.outputs[place] == body.inputs[place]
            return given(place) if stays else None

        def counts(place):
            step = made.get(int(body.outputs[place]))
            return step is not None and self._kind(step) == "ADD" and (
                body.inputs[place] in step.inputs
                and 1 in [self._value(body, index) for index in step.inputs]
            )

        found = []
        alike = len({*map(len, (
            loop.inputs, test.inputs, body.inputs, body.outputs
        ))}) == 1
        for operator in test.operators if alike else ():
            if self._kind(operator) != "LESS":
                continue
            place = places.get(int(operator.inputs[0]))
            if place is not None and counts(place):
                first, last = given(place), limit(operator.inputs[1])
                if first is not None and last is not None:
                    found.append(max(0, last - first))
        if not found:
            self.unknown["WHILE"] += 1
        return min(found, default=1)

    def _value(self, graph, index):
        """Returns a constant of a file that is one integer, or `None`."""
        tensor = graph.tensors[index]
        whole = flatbuffer.type_name(tensor.type) in ("INT32", "INT64")
        if not whole or flatbuffer.raw(self._model, tensor) is None:
            return None
        values = flatbuffer.stored(self._model, tensor)
        return int(values[0]) if len(values) == 1 else None
