"""Readings of a model for the board: masks, densities, weights."""

import dataclasses

import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery import paths
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks.board import images
from tf_lottery.callbacks.board import summaries
from tf_lottery.patterns import layouts


@dataclasses.dataclass(frozen=True)
class Reading:
    """The masked weights of a model at one moment, and the live ones, by key.
    """

    masks: dict
    weights: dict
    live: dict | None

    @property
    def density(self):
        return masks_lib.density(self.masks)

    @property
    def revived(self):
        """Integer, the pruned weights that are not zero."""
        return sum(
            int(np.count_nonzero(self.weights[key][~mask]))
            for key, mask in self.masks.items()
        )

    def densities(self):
        found = {}
        for name, masks in (
            ("density", self.masks), ("effective_density", self.live)
        ):
            if masks is not None:
                found[name] = masks_lib.density(masks)
                for key, value in masks_lib.densities(masks).items():
                    found[f"{name}/{key}"] = value
        return found


class Reader:
    """Reads a model again and again; follows its paths when masks change."""

    def __init__(self, model):
        self._model = model
        self._last = None

    def read(self):
        model, last = self._model, self._last
        holding.synchronise(model)
        variables = weights_lib.variables(model)
        masks = holding.masks_of(model) or _all_kept(model)
        if last is not None and _equal(masks, last.masks):
            masks, live = last.masks, last.live
        else:
            live = effective_masks(model, masks)
        weights = {
            key: ops.convert_to_numpy(variables[key]) for key in masks
        }
        self._last = Reading(masks, weights, live)
        return self._last

    def histograms(self, reading):
        """Returns summary values: how the kept weights are distributed."""
        return [
            summaries.histogram(
                f"kept_weights/{key}", reading.weights[key][mask]
            )
            for key, mask in reading.masks.items()
        ]

    def images(self, reading):
        """Returns summary values: pictures of the masks."""
        found = layouts.layouts_of(weights_lib.inspect(self._model))
        values = []
        for key, mask in reading.masks.items():
            layout = found.get(key) or layouts.default(mask.ndim)
            pictures = images.pictures(mask, layout)
            values += [
                summaries.image(
                    f"{kind}/{key}", *images.png(picture)
                )
                for kind, picture in pictures.items()
            ]
        return values


def effective_masks(model, masks):
    """What of masks is on a path; `None` where no rule says how paths run."""
    try:
        return paths.effective_masks(model, masks)
    except ValueError:
        return None


def _all_kept(model):
    return constraints.current_masks({
        weight.key: weight.variable
        for weight in weights_lib.inspect(model) if weight.reason is None
    })


def _equal(a, b):
    return a.keys() == b.keys() and all(
        np.array_equal(a[key], b[key]) for key in a
    )
