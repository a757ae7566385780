"""The smallest file as it is."""

from tf_lottery.export.targets import target


class Flash(target.Target):
    """The smallest file, as it lies in flash."""

    name = "flash"
