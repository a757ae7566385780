"""Arm's Ethos-U: zeros are flash, and time where memory is what is slow."""

from tf_lottery import files
from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer
from tf_lottery.export import npu
from tf_lottery.export import storage
from tf_lottery.export import vela
from tf_lottery.export.targets import target
from tf_lottery.utils import checks

# The configuration that a target has if none is asked for.
DEFAULTS = {
    "ethos-u55": "ethos-u55-128",
    "ethos-u65": "ethos-u65-256",
    "ethos-u85": "ethos-u85-256",
}


class EthosU(target.Target):
    """An int8 file, and beside it the one that Vela compiles from it.

    The weights are stored densely: Vela codes zeros and equal values for the
    NPU, which decodes them as it reads.

    Args:
        accelerator: String, one of `vela.ACCELERATORS`. Defaults to
            `"ethos-u55-128"`.
        system_config: String, the section of Vela's configuration file that
            names clock and memories. Defaults to Vela's choice.
        memory_mode: String, the section that says what lies in which memory.
            Defaults to Vela's choice.

    Example:

    >>> target = tfl.export.targets.EthosU("ethos-u85-512")
    >>> target.name, target.dtypes
    ('ethos-u85', ('int8',))
    """

    stored = "dense"
    dtypes = ("int8",)
    io_dtype = "int8"
    is_timed_here = False
    has_fixed_shapes = True
    has_signatures = False
    has_int8_products = True

    def __init__(
        self,
        accelerator: str = DEFAULTS["ethos-u55"],
        system_config: str | None = None,
        memory_mode: str | None = None,
    ) -> None:
        checks.choice("accelerator", accelerator, vela.ACCELERATORS)
        checks.optional(checks.text, "system_config", system_config)
        checks.optional(checks.text, "memory_mode", memory_mode)
        self.name = accelerator.rpartition("-")[0]
        self._options = accelerator, system_config, memory_mode

    def check(self):
        if vela.command() is None:
            raise ImportError(
                f'Target "{self.name}" takes Vela, Arm\'s compiler: '
                "`pip install tf_lottery[ethosu]`."
            )

    def encode(self, content, quantize):
        model = flatbuffer.read(content)
        layers = [
            storage.layer(
                use, encoding.dense_values(model, use), "dense", False,
                "stored dense; Vela codes it for the NPU",
            )
            for use in flatbuffer.weights(model)
        ]
        return [(self.stored, content, layers)]

    def compile(self, content):
        compiled, estimate = vela.compile(content, *self._options)
        without = npu.filled(content)
        dense = estimate
        if without != content:
            dense = vela.compile(without, *self._options)[1]
        return compiled, npu.Comparison(estimate, dense)

    def write_sources(self, path, content, compiled):
        written = path.with_name(f"{path.stem}_vela.tflite")
        files.write_atomic(written, [compiled])
        return [str(written)]
