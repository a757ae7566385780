"""Analyses of tickets and trainings, as in the papers.

Functions on tickets, snapshots, dicts of weights, models and the directories
of runs. Models are left as they were, bit for bit.
"""

from tf_lottery.analysis.capacity import capacity as capacity
from tf_lottery.analysis.connectivity import (
    linear_connectivity as linear_connectivity,
)
from tf_lottery.analysis.curves import curves as curves
from tf_lottery.analysis.densities import layer_densities as layer_densities
from tf_lottery.analysis.generalization import (
    generalization_gap as generalization_gap,
)
from tf_lottery.analysis.levels import BarrierRate as BarrierRate
from tf_lottery.analysis.levels import ErrorBarrier as ErrorBarrier
from tf_lottery.analysis.movement import weight_movement as weight_movement
from tf_lottery.analysis.overlap import expected_overlap as expected_overlap
from tf_lottery.analysis.overlap import mask_overlap as mask_overlap
from tf_lottery.analysis.recalibration import recalibrate as recalibrate
from tf_lottery.analysis.report import report as report
from tf_lottery.analysis.robustness import robustness as robustness
from tf_lottery.analysis.stability import stability as stability
from tf_lottery.paths import effective_density as effective_density
from tf_lottery.report import drawing as _drawing

save_plot = _drawing.save
