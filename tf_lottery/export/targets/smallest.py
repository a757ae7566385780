"""The smallest file, as it lies in flash or as it is downloaded."""

import zlib

from tf_lottery.export import encoding
from tf_lottery.export.targets import target


class Flash(target.Target):
    """The smallest file, as it lies in flash."""

    name = "flash"


class Size(target.Target):
    """The smallest file after `gzip -9`."""

    name = "size"
    unit = "bytes compressed"

    def nbytes(self, arrays, operators=0):
        # Operators and tensors of the same kind compress well.
        compressed = sum(len(zlib.compress(a.tobytes(), 6)) for a in arrays)
        return compressed + operators * encoding.OVERHEAD // 4

    def size(self, row):
        return row.compressed

    def choose(self, found):
        return target.smallest_compressed(found)
