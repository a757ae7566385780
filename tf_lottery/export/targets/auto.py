"""The fastest file measured here."""

from tf_lottery.export.targets import cpu
from tf_lottery.export.targets import flash
from tf_lottery.export.targets import target


class Auto(target.Target):
    """The fastest of the files for `"flash"` and `"cpu"`."""

    name = "auto"

    def encode(self, content, quantize):
        return [
            *flash.Flash().encode(content, quantize),
            *cpu.CPU().encode(content, quantize),
        ]

    def choose(self, found):
        return cpu.fastest(found)
