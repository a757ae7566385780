"""TensorFlow Lite Micro: weights as bitmap and values, and C sources.

The runtime's custom operator `TFLM_DECODE` restores such weights at every
call; the encoder for its type "prune" is missing in the package. Reference:
`decode_state_prune.cc` in https://github.com/tensorflow/tflite-micro, 2026.
"""

import bisect

import numpy as np

from tf_lottery import files
from tf_lottery.export import children
from tf_lottery.export import editing
from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer
from tf_lottery.export import storage
from tf_lottery.export.targets import target

_OPERATOR = "TFLM_DECODE"
# Type 2 is "prune"; version 1 of the header, and of this type's part of it.
_HEADER = bytes([2, 1, 0, 0, 1] + [0] * 11)
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_DTYPES = ("FLOAT32", "INT8")
# What no array can be called in C or C++.
_RESERVED = frozenset(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch "
    "char class compl concept const const_cast consteval constexpr constinit "
    "continue decltype default delete do double dynamic_cast else enum "
    "explicit export extern false float for friend goto if inline int long "
    "main mutable namespace new noexcept not not_eq nullptr operator or or_eq "
    "private protected public register reinterpret_cast requires restrict "
    "return short signed sizeof static static_assert static_cast struct "
    "switch template this thread_local throw true try typedef typeid typename "
    "typeof union unsigned using virtual void volatile wchar_t while xor "
    "xor_eq NULL".split()
)
# How closely the smallest arena is looked for, in bytes.
_ARENA_STEP = 256


class Micro(target.Target):
    """A file for microcontrollers, as TFLite and as C source."""

    name = "micro"
    stored = "bitmap"
    dtypes = ("float32", "int8")
    is_exact = True
    has_fixed_shapes = True
    has_signatures = False
    has_int8_products = True

    def check(self):
        if not children.micro_installed():
            raise ImportError(
                'Target "micro" is checked in TensorFlow Lite Micro\'s own '
                "interpreter: `pip install tf_lottery[micro]`."
            )

    def runtimes(self):
        return [children.MICRO]

    def encode(self, content, quantize):
        return [(self.stored, *encode(content))]

    def arena(self, runtime, content, inputs):
        """Returns the smallest RAM in which a file runs, by halving."""
        if runtime.name != children.MICRO:
            return None

        def fits(nbytes):
            try:
                runtime.try_arena(content, inputs, nbytes)
            # Too small ones are refused, or written over: then it crashes.
            except children.RuntimeFailure:
                return False
            return True

        sizes = range(0, max(1 << 20, 12 * len(content)), _ARENA_STEP)
        place = bisect.bisect_left(sizes, True, lo=1, key=fits)
        return place * _ARENA_STEP

    def write_sources(self, path, content, compiled):
        name = "".join(
            c if c.isascii() and c.isalnum() else "_" for c in path.stem
        )
        if not name[:1].isalpha() or name in _RESERVED:
            name = f"model_{name}"
        written = []
        for suffix, text in zip((".h", ".c"), source_pair(content, name)):
            written.append(str(path.with_name(f"{name}{suffix}")))
            files.write_text(written[-1], text)
        return written


def encode(content):
    """Stores weights as bitmap and values where that is smaller.

    The flash shrinks; RAM grows, by about the largest weights, because they
    are decoded at every call. Returns content and a list of `storage.Layer`.
    """
    model = flatbuffer.read(content)
    layers, changed = [], False
    for uses in flatbuffer.by_constant(model):
        dense = encoding.dense_values(model, uses[0])
        reason = _refused(model, uses, dense)
        layers += [
            storage.layer(
                use, dense, "dense" if reason else "bitmap", False,
                f"runs dense: {reason or 'decoded in RAM at every call'}",
            )
            for use in uses
        ]
        if reason is None:
            _store(model, uses[0], dense)
            changed = True
    return (flatbuffer.write(model) if changed else content), layers


def _refused(model, uses, dense):
    weight = uses[0]
    if any(use.kind not in _KINDS or use.via for use in uses):
        return f"{weight.kind} does not take decoded weights"
    if weight.dtype not in _DTYPES:
        return f"{weight.dtype} weights cannot be decoded"
    readers = flatbuffer.consumers(model.subgraphs[weight.graph], weight.index)
    if len(readers) != len(uses):
        return "other operators read them too"
    quantization = weight.tensor.quantization
    if quantization is not None and quantization.zeroPoint is not None:
        if np.any(quantization.zeroPoint):
            return "their zero point is not 0"
    bitmap, values = _split(dense)
    saved = dense.nbytes - len(bitmap) - len(values)
    if saved <= encoding.OVERHEAD:
        return "a bitmap would not be smaller"
    return None


def _split(dense):
    flat = dense.reshape(-1)
    kept = flat != 0
    return np.packbits(kept).tobytes(), _HEADER + flat[kept].tobytes()


def _store(model, weight, dense):
    graph = model.subgraphs[weight.graph]
    bitmap, values = _split(dense)
    # The tensor of the weights becomes the output; its buffer is free.
    first = editing.split_constant(graph, weight.index, "bitmap")
    second = editing.split_constant(graph, weight.index, "values")
    for index, data in ((first, bitmap), (second, values)):
        _fill(model, graph.tensors[index], data)
    editing.add_operator(
        model, graph, "CUSTOM", [first, second], weight.index,
        custom=_OPERATOR,
    )


def _fill(model, tensor, data):
    names = flatbuffer.schema()
    # Another tensor may share the buffer that is left.
    old = tensor.buffer
    tensor.buffer = 0
    if old and not editing.sharing(model, old):
        model.buffers[old].data = None
    buffer = names.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.buffers.append(buffer)
    tensor.type, tensor.shape = names.TensorType.UINT8, [len(data)]
    tensor.buffer = len(model.buffers) - 1


def source_pair(content, name):
    """Returns a C header and a C source that hold a file as an array.

    Example:

    >>> header, source = tfl.export.targets.micro.source_pair(b"TFL3", "digits")
    >>> "extern const unsigned char digits[];" in header
    True
    """
    if not (name.isidentifier() and name.isascii()):
        raise ValueError(
            "Argument `name` must be a C identifier. "
            f"Received: name={name!r}"
        )
    guard = f"{name.upper()}_H_"
    header = (
        f"#ifndef {guard}\n#define {guard}\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        "/* A TensorFlow Lite model; decoded weights need AddDecode(). */\n"
        f"extern const unsigned char {name}[];\n"
        f"extern const unsigned int {name}_len;\n\n"
        f"#ifdef __cplusplus\n}}\n#endif\n\n#endif  /* {guard} */\n"
    )
    lines = [
        "    " + ",".join(f"0x{byte:02x}" for byte in content[i:i + 12])
        for i in range(0, len(content), 12)
    ]
    body = ",\n".join(lines)
    source = (
        f'#include "{name}.h"\n\n#include <stdalign.h>\n\n'
        f"alignas(16) const unsigned char {name}[] = {{\n{body}\n}};\n"
        f"const unsigned int {name}_len = {len(content)};\n"
    )
    return header, source
