"""Searches for tickets with keras-tuner, on one machine or several."""

from tf_lottery.tuner import objectives as _objectives
from tf_lottery.tuner import reports as _reports
from tf_lottery.tuner import sweeps as _sweeps
from tf_lottery.tuner.hypermodel import TicketHyperModel as TicketHyperModel
from tf_lottery.tuner.objectives import TicketObjective as TicketObjective
from tf_lottery.tuner.reports import Report as Report
from tf_lottery.tuner.tuners import (
    BayesianOptimization as BayesianOptimization,
)
from tf_lottery.tuner.tuners import Hyperband as Hyperband
from tf_lottery.tuner.tuners import RandomSearch as RandomSearch

objective = _objectives.get
report = _reports.read
sweep = _sweeps.search
