"""Searches for tickets with keras-tuner, on one machine or several."""

from tf_lottery.tuner.hypermodel import TicketHyperModel as TicketHyperModel
from tf_lottery.tuner.objectives import TicketObjective as TicketObjective
from tf_lottery.tuner.objectives import get as objective
from tf_lottery.tuner.reports import Report as Report
from tf_lottery.tuner.reports import read as report
from tf_lottery.tuner.sweeps import search as sweep
from tf_lottery.tuner.tuners import (
    BayesianOptimization as BayesianOptimization,
)
from tf_lottery.tuner.tuners import Hyperband as Hyperband
from tf_lottery.tuner.tuners import RandomSearch as RandomSearch
