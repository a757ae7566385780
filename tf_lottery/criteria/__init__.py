"""Criteria: how much each weight is worth. Higher scores are kept."""

import inspect
from collections.abc import Mapping

import keras
import numpy as np

from tf_lottery import constraints
from tf_lottery import weights as weights_lib
from tf_lottery.criteria.criterion import Context as Context
from tf_lottery.criteria.criterion import Criterion as Criterion
from tf_lottery.criteria.criterion import (
    FunctionCriterion as FunctionCriterion,
)
from tf_lottery.criteria.criterion import Identifier as Identifier
from tf_lottery.criteria.deconstructed import ALL_DECONSTRUCTED
from tf_lottery.criteria.deconstructed import LargeFinal as LargeFinal
from tf_lottery.criteria.deconstructed import LargeInit as LargeInit
from tf_lottery.criteria.deconstructed import (
    LargeInitLargeFinal as LargeInitLargeFinal,
)
from tf_lottery.criteria.deconstructed import (
    MagnitudeIncrease as MagnitudeIncrease,
)
from tf_lottery.criteria.deconstructed import Movement as Movement
from tf_lottery.criteria.deconstructed import SmallFinal as SmallFinal
from tf_lottery.criteria.deconstructed import SmallInit as SmallInit
from tf_lottery.criteria.deconstructed import (
    SmallInitSmallFinal as SmallInitSmallFinal,
)
from tf_lottery.criteria.grasp import GraSP as GraSP
from tf_lottery.criteria.lookahead import Lookahead as Lookahead
from tf_lottery.criteria.magnitude import LAMP as LAMP
from tf_lottery.criteria.magnitude import Magnitude as Magnitude
from tf_lottery.criteria.obc import OBC as OBC
from tf_lottery.criteria.obd import OBD as OBD
from tf_lottery.criteria.random import Random as Random
from tf_lottery.criteria.synflow import SynFlow as SynFlow
from tf_lottery.criteria.taylor import SNIP as SNIP
from tf_lottery.criteria.taylor import Taylor as Taylor
from tf_lottery.criteria.units import FPGM as FPGM
from tf_lottery.criteria.units import BatchNormScale as BatchNormScale
from tf_lottery.criteria.units import UnitCriterion as UnitCriterion
from tf_lottery.criteria.wanda import Wanda as Wanda
from tf_lottery.criteria.woodfisher import WoodFisher as WoodFisher
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import snapshots

ALL_CRITERIA = (
    Magnitude, Random, LAMP, Lookahead, SNIP, GraSP, SynFlow, Taylor, OBD,
    WoodFisher, Wanda, OBC, FPGM, BatchNormScale, *ALL_DECONSTRUCTED,
)
_BY_NAME = {criterion.name: criterion for criterion in ALL_CRITERIA}


def get(identifier: Identifier) -> Criterion:
    """Returns a criterion.

    Args:
        identifier: Name of a criterion (`sorted(criterion.name for criterion
            in ALL_CRITERIA)`), a `Criterion` or its class, or a callable
            `f(model, variables)` that takes a dict from weight key to
            variable and returns a dict from weight key to an array of scores.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if inspect.isclass(identifier) and issubclass(identifier, Criterion):
        return identifier()
    if isinstance(identifier, Criterion):
        return identifier
    if callable(identifier) and not inspect.isclass(identifier):
        return FunctionCriterion(identifier)
    raise ValueError(
        "Argument `criterion` must be one of "
        f"{sorted(_BY_NAME)}, a `Criterion` or a callable. "
        f"Received: criterion={identifier!r}"
    )


@docs.filled
def score(
    model: keras.Model,
    criterion: Identifier = "magnitude",
    data: types.Data | None = None,
    loss: types.Loss | None = None,
    snapshot: snapshots.Snapshot | Mapping[str, np.ndarray] | None = None,
    exclude: types.Names = (),
    include: types.Names = (),
) -> dict[str, np.ndarray]:
    """Returns the score of every prunable weight of a model.

    The model is left exactly as it was. Weights that are pruned already are
    scored as zeros; what they score does not matter.

    Args:
        model: A built `keras.Model`.
        criterion: See `get`. Defaults to `"magnitude"`.
        {{evidence}}
        {{layers}}

    Returns:
        Dict from weight key to array of the weight's shape, higher = keep.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((1,)),
    ...     keras.layers.Dense(2, name="fc", kernel_initializer="ones")])
    >>> tfl.criteria.score(model, "magnitude")["fc/kernel"].tolist()
    [[1.0, 1.0]]
    """
    variables = weights_lib.prunable(model, exclude, include)
    masks = constraints.current_masks(variables)
    context = make_context(data, loss, snapshot, masks)
    return get(criterion)(model, variables, context)


def make_context(
    data: types.Data | None = None,
    loss: types.Loss | None = None,
    snapshot: snapshots.Snapshot | Mapping[str, np.ndarray] | None = None,
    masks: types.Masks | None = None,
) -> Context:
    """Returns a `Context`; a `Snapshot` gives its weights."""
    if isinstance(snapshot, snapshots.Snapshot):
        snapshot = snapshot.weights
    checks.data("data", data)
    checks.loss("loss", loss)
    checks.optional(checks.arrays, "snapshot", snapshot)
    checks.optional(checks.arrays, "masks", masks)
    return Context(data, loss, snapshot, masks)
