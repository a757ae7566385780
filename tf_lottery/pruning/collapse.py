"""Layer collapse: what is done where pruning leaves a layer next to nothing.

One argument, `collapse`, says it wherever masks are made: in `prune`, in
rounds and in every callback that prunes.

Reference: Tanaka et al. 2020, "Pruning neural networks without any data by
iteratively conserving synaptic flow", https://arxiv.org/abs/2006.05467.
"""

import warnings

import numpy as np

from tf_lottery import masks as masks_lib
from tf_lottery import paths
from tf_lottery.patterns import layouts as layouts_lib
from tf_lottery.patterns.pattern import brief

# A layer with so few of its outputs left passes on next to nothing.
_THIN = 0.05
# Unless it was to keep little: this much less than the weights altogether.
_UNEVEN = 0.2


def report(model, masks, collapse, before, layouts=None):
    """Tells of layers that are empty or nearly so, and of a dead network.

    A network is dead when no path leads through it (followed where some
    layer keeps fewer weights than it has outputs). Where one weight of each
    layer is kept, none is empty: then a layer is told of when not one in 20
    of its outputs keeps a weight. What `before` says already is not said
    again, nor is what a layer loses at about the density of all weights.

    If `collapse="error"`, an empty layer and a dead network are a
    `ValueError`; else it warns.
    """
    layouts = layouts_lib.complete(
        layouts, {key: np.shape(mask) for key, mask in masks.items()}
    )
    # Who asks for an error wants to know of what was empty before, too.
    known = [] if collapse == "error" else paths.collapsed(before)
    problem = _why_dead(model, masks, known, layouts)
    if problem and collapse == "error":
        raise ValueError(
            f"{_message(masks, problem)} Received: collapse='error'"
        )
    if not problem and collapse == "keep-one":
        problem = _why_thin(masks, before, layouts)
    if problem:
        warnings.warn(_message(masks, problem), stacklevel=4)


def _why_dead(model, masks, known, layouts):
    empty = [key for key in paths.collapsed(masks) if key not in known]
    if empty:
        return f"Nothing is left of {brief(empty)}."
    may_be_cut = any(
        np.count_nonzero(mask) < _outputs(mask, layouts[key]).size
        for key, mask in masks.items()
    )
    if known or not may_be_cut:
        return None
    try:
        return paths.why_dead(model, masks)
    except ValueError:
        # A model that cannot be traced: whether a path is left is not known.
        return None


def _why_thin(masks, before, layouts):
    asked_for = masks_lib.density(masks)
    thin = {
        key: mask for key, mask in masks.items()
        if mask.mean() < _UNEVEN * asked_for
        and _is_thin(mask, layouts[key])
        and not _is_thin(before[key], layouts[key])
    }
    if not thin:
        return None
    kept = ", ".join(
        f"{np.count_nonzero(mask)} of {mask.size}"
        for mask in list(thin.values())[:8]
    )
    return f"Next to nothing is left of {brief(thin)}: {kept} weights."


def _is_thin(mask, layout):
    alive = _outputs(mask, layout)
    return np.count_nonzero(alive) < _THIN * alive.size or (
        np.count_nonzero(mask) <= 1 < mask.size
    )


def _outputs(mask, layout):
    """Which outputs keep a weight."""
    summed = tuple(a for a in range(mask.ndim) if a not in layout.outputs)
    return np.any(mask, axis=summed)


def _message(masks, problem):
    return (
        f"Layer collapse at density {masks_lib.density(masks):.2%}. {problem} "
        "Choose a lower sparsity, `scope='layer'` or `'erk'`, the criterion "
        "'synflow' or 'lamp', which avoid this, or leave such layers alone by "
        "`exclude`."
    )
