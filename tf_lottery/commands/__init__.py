"""The commands of `tf-lottery`, one module for each.

A module has a function `add_parser(commands)`, which adds its parser with
the function to call as the default `command`.
"""

from tf_lottery.commands import analyze
from tf_lottery.commands import export
from tf_lottery.commands import presets
from tf_lottery.commands import prune
from tf_lottery.commands import report
from tf_lottery.commands import run
from tf_lottery.commands import shrink
from tf_lottery.commands import sweep

ALL_COMMANDS = (run, sweep, presets, report, analyze, prune, shrink, export)
