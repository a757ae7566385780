"""What tickets and trainings are like, measured as in the papers.

Functions on tickets, snapshots, dicts of weights, models and the directories
of runs. Models are left as they were, bit for bit.
"""

from tf_lottery.analysis.adversarial import robustness as robustness
from tf_lottery.analysis.against_density import curves as curves
from tf_lottery.analysis.connectivity import (
    linear_connectivity as linear_connectivity,
)
from tf_lottery.analysis.densities import layer_densities as layer_densities
from tf_lottery.analysis.distances import stability as stability
from tf_lottery.analysis.generalization import (
    generalization_gap as generalization_gap,
)
from tf_lottery.analysis.memorizing import capacity as capacity
from tf_lottery.analysis.movement import weight_movement as weight_movement
from tf_lottery.analysis.overlap import expected_overlap as expected_overlap
from tf_lottery.analysis.overlap import mask_overlap as mask_overlap
from tf_lottery.analysis.plots import save as save_plot
from tf_lottery.analysis.recalibration import recalibrate as recalibrate
from tf_lottery.analysis.reporting import report as report
from tf_lottery.paths import effective_density as effective_density
