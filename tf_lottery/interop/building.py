"""Keras 3 models built from the configuration of tf_keras models."""

import dataclasses

import keras

from tf_lottery.interop import arguments

WRAPPER = "PruneLowMagnitude"


@dataclasses.dataclass
class Node:
    """A layer of the file, and the layer of Keras 3 that stands for it.

    `layer` is never a wrapper of TFMOT, which is `wrapped` around it in the
    file; `parts` are the layers of a model, `None` for a layer.
    """

    name: str
    class_name: str
    layer: keras.layers.Layer
    wrapped: bool = False
    parts: list["Node"] | None = None


def build(entry, custom_objects):
    """Builds a model or a layer; returns its `Node`.

    Raises:
        ValueError: If Keras 3 cannot express a layer.
    """
    config = entry["config"]
    name = arguments.name_of(entry)
    if entry["class_name"] == WRAPPER:
        node = build(_inside(entry), custom_objects)
        node.name, node.class_name, node.wrapped = name, WRAPPER, True
        return node
    if "input_layers" in config:
        model, parts = _functional(config, custom_objects)
    elif entry["class_name"] == "Sequential":
        model, parts = _sequential(entry, custom_objects)
    else:
        layer = arguments.make_layer(entry, custom_objects)
        return Node(name, entry["class_name"], layer)
    return Node(name, entry["class_name"], model, parts=parts)


def check_is_graph(entry):
    """Raises a `ValueError` unless a model is Sequential or Functional."""
    config = entry["config"]
    if entry["class_name"] == "Sequential" or "input_layers" in config:
        return
    raise ValueError(
        f"Model '{arguments.name_of(entry)}' is a "
        f"'{entry['class_name']}', and its file does not say how its layers "
        "are connected. Expected: a Sequential or Functional model. Write the "
        "subclassed model in Keras 3 and copy the weights by `set_weights`."
    )


def _inside(entry):
    """What a wrapper is around, with the input shape that either knows."""
    inner = entry["config"]["layer"]
    shape = entry["config"].get("batch_input_shape")
    if shape is None or "batch_input_shape" in inner["config"]:
        return inner
    config = {**inner["config"], "batch_input_shape": shape}
    return {**inner, "config": config}


def _sequential(entry, custom_objects):
    config = entry["config"]
    entries = config["layers"]
    inputs = [e for e in entries if e["class_name"] == "InputLayer"][:1]
    entries = [e for e in entries if e["class_name"] != "InputLayer"]
    parts = [build(e, custom_objects) for e in entries]
    first = [_input(e) for e in inputs] or _first_input(entry, entries)
    model = keras.Sequential(
        [*first, *(part.layer for part in parts)], name=config.get("name")
    )
    return model, parts


def _first_input(entry, entries):
    """The input of a model that has no layer for it, where it is known."""
    first = _inside(entries[0]) if entries and (
        entries[0]["class_name"] == WRAPPER
    ) else (entries or [entry])[0]
    shape = first["config"].get("batch_input_shape") or (
        entry["config"].get("build_input_shape")
        or (entry.get("build_config") or {}).get("input_shape")
    )
    if shape is None:
        return []
    dtype = "float32"
    if first["class_name"] == "Embedding":
        dtype = "int32"
    return [keras.Input(batch_shape=shape, dtype=dtype)]


def _input(entry):
    config = entry["config"]
    if config.get("ragged") or config.get("sparse"):
        raise ValueError(
            f"Input '{config['name']}' cannot be expressed in Keras 3: it is "
            "ragged or sparse."
        )
    shape = config.get("batch_input_shape", config.get("batch_shape"))
    return keras.Input(
        batch_shape=shape,
        dtype=arguments.policy(config.get("dtype")),
        name=config.get("name"),
    )


def _functional(config, custom_objects):
    graph = _Graph(config, custom_objects)
    graph.connect()
    model = keras.Model(
        _single(graph.tensors_of(config["input_layers"])),
        _single(graph.tensors_of(config["output_layers"])),
        name=config.get("name"),
    )
    if not config.get("trainable", True):
        model.trainable = False
    return model, graph.nodes


class _Graph:
    """The layers of a Functional model, called one after the other.

    A tensor is named by a layer, a number that says which call of the layer
    made it, and its place among the outputs of that call. The number counts
    from 1 where a model had been called before it was put into this one.
    """

    def __init__(self, config, custom_objects):
        self.nodes = []
        self._outputs, self._layers, self._calls = {}, {}, []
        for entry in config["layers"]:
            name = entry.get("name") or arguments.name_of(entry)
            if entry["class_name"] == "InputLayer":
                self._outputs[name] = [[_input(entry)]]
                continue
            node = build(entry, custom_objects)
            self.nodes.append(node)
            self._layers[name] = node
            self._outputs[name] = []
            self._calls += [(name, data) for data in entry["inbound_nodes"]]
        self._first = self._first_numbers(config)

    def _first_numbers(self, config):
        first = {}
        data = [data for _, data in self._calls]
        data += [config["input_layers"], config["output_layers"]]
        for name, number, _ in _references(data):
            first[name] = min(number, first.get(name, number))
        return first

    def connect(self):
        """Calls every layer as often as the model did."""
        waiting = self._calls
        while waiting:
            later, held_up = [], set()
            for name, data in waiting:
                # The calls of a layer are numbered, so they stay in order.
                if name in held_up or any(
                    number - self._first[before] >= len(self._outputs[before])
                    for before, number, _ in _references(data)
                ):
                    held_up.add(name)
                    later.append((name, data))
                    continue
                self._call(name, data)
            if len(later) == len(waiting):
                raise ValueError(
                    "The graph of the model is not connected. Nothing feeds "
                    f"the layers: {sorted(held_up)}"
                )
            waiting = later

    def tensors_of(self, data):
        """Returns `data` with the tensors in place of their names."""
        if _is_reference(data):
            if data[0] == "_CONSTANT_VALUE":
                return data[2]
            outputs = self._outputs[data[0]]
            return outputs[data[1] - self._first[data[0]]][data[2]]
        if isinstance(data, dict):
            return {key: self.tensors_of(data[key]) for key in data}
        if isinstance(data, (list, tuple)):
            return [self.tensors_of(part) for part in data]
        return data

    def _call(self, name, data):
        layer = self._layers[name].layer
        inputs = _single(self.tensors_of(data))
        options = self.tensors_of(_options(data))
        options = {k: v for k, v in options.items() if v is not None}
        recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
        if isinstance(layer, recurrent) and isinstance(inputs, list):
            inputs, *state = inputs
            options["initial_state"] = state
        try:
            outputs = layer(inputs, **options)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Layer '{layer.name}' ({type(layer).__name__}) cannot be "
                f"called in Keras 3 as it was in tf_keras: {error}"
            ) from error
        self._outputs[name].append(keras.tree.flatten(outputs))


def _is_reference(data):
    return (
        isinstance(data, (list, tuple))
        and len(data) in (3, 4)
        and isinstance(data[0], str)
        and isinstance(data[1], int)
    )


def _references(data):
    """Yields (layer, number of the call, place) of every tensor in `data`."""
    if _is_reference(data):
        if data[0] != "_CONSTANT_VALUE":
            yield tuple(data[:3])
        yield from _references(_options(data))
    elif isinstance(data, dict):
        for part in data.values():
            yield from _references(part)
    elif isinstance(data, (list, tuple)):
        for part in data:
            yield from _references(part)


def _options(data):
    """The keyword arguments of a call, which stand next to its tensors."""
    if _is_reference(data):
        return data[3] if len(data) == 4 else {}
    parts = data.values() if isinstance(data, dict) else data
    return next((_options(part) for part in parts), {})


def _single(tensors):
    if isinstance(tensors, list) and len(tensors) == 1:
        return tensors[0]
    return tensors
