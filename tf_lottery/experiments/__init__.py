"""Experiments of the papers: presets, data, models and runs."""

from tf_lottery.utils import faces as _faces

if not _faces.IS_COMMAND_LINE:
    from tf_lottery.experiments.api import *  # noqa: F403
    from tf_lottery.experiments.api import __all__ as __all__
