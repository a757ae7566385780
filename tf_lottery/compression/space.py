"""Space: all that can be removed from a model, and to which degrees."""

import dataclasses
import math

import keras
import numpy as np

from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import weights as weights_lib
from tf_lottery.compression import prices as prices_lib
from tf_lottery.compression import refits
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.search import measuring

# Distances are measured on as many examples as take so many multiplications
# in one pass, but on 64 at least.
_WORK, _LEAST = 1e10, 64


class Space:
    """Groups of channels, and weights, each with levels of removal.

    What stays is refit by least squares for both at once, where
    `criteria.OBC` knows the layer: kernels make up for channels that they
    read no more (He et al. 2017, section 3.1,
    https://arxiv.org/abs/1707.06168) and for their own weights.

    Args:
        model: A built `keras.Model` without masks, a copy that may change.
        inputs: Array or a structure of arrays, to calibrate on.
        weights: `weights.Weights`, or `None`, where zeros are worth nothing.

    Attributes:
        names: List of strings, the groups and then the weight keys.
        groups: List of strings, the groups alone.
        errors: List of arrays: the distance of the outputs with a part alone
            at each level.
        costs: Dict from weight key to array: its bytes at each level.
        skipped: Dict from name to why it is left alone.
    """

    def __init__(self, model, inputs, channels, weights):
        self._model, self._inputs = model, inputs
        self._channels, self._weights = channels, weights
        self.groups = channels.names if channels else []
        self._keys = weights.names if weights else []
        self.names = [*self.groups, *self._keys]
        self.skipped = (channels.skipped if channels else {}) | (
            weights.skipped if weights else {}
        )
        self._variables = (channels.readers if channels else {}) | (
            weights.variables if weights else {}
        )
        self._sizes = channels.weights if channels else {
            key: math.prod(v.shape) for key, v in self._variables.items()
        }
        self._refits, self._found, self._prices = None, {}, None
        self.errors, self.costs = [], {}

    def measure(self, say, shares=None, whole=0.0):
        """Returns tables for `use`, and arrays: errors, costs, orders.

        Args:
            shares: List of `export.shares.Share` of the file of the model.
                Defaults to `None`: what counts is bytes, or multiplications
                where there are no weights.
            whole: Float, what that file costs. Defaults to 0.
        """
        self._set(self._priced(shares, whole))
        # Before there are other traces of the model, and their outputs.
        self._calibrate()
        distance = measuring.Distance(self._model, self._some())
        number, costs = len(self.groups), {}
        errors = [None] * len(self.names)
        # In their order in the model, what is before is computed once.
        for part in sorted(
            range(len(self.names)), key=lambda i: distance.first(self._of(i))
        ):
            name = self.names[part]
            say(f"measuring {name}")
            if part < number:
                errors[part] = self._errors_of(part, distance)
            else:
                errors[part], costs[name] = self._weights.measure(
                    name, self._refit(name), distance
                )
        gone = self._weights.gone if self._weights else {}
        return {
            "errors": [each.tolist() for each in errors],
            "costs": {key: each.tolist() for key, each in costs.items()},
            "prices": dataclasses.asdict(self._prices),
        }, gone

    def use(self, tables, gone):
        """Takes what `measure` returned."""
        self._set(prices_lib.Prices(**tables["prices"]))
        self.errors = [np.array(each, float) for each in tables["errors"]]
        self.costs = {k: np.array(c) for k, c in tables["costs"].items()}
        if self._weights:
            self._weights.gone = gone

    def cost(self, levels):
        """Returns what weights cost, whose sum is counted."""
        return sum(self.by_key(levels).values())

    def macs(self, levels):
        """Returns the multiplications of one example."""
        groups, _ = self._split(levels)
        return sum(self._channels.macs(self._channels.kept(groups)).values())

    def by_key(self, levels):
        """Returns what each weight costs, by key."""
        groups, keys = self._split(levels)
        macs, shares = self._left(tuple(groups))
        return self._prices.of(macs, {
            key: self.costs[key][level] * shares.get(key, 1)
            for key, level in keys.items()
        })

    @property
    def least(self):
        """Dict from weight key to what it costs with all removed."""
        if not self._prices.macs:
            return {key: float(c[-1]) for key, c in self.costs.items()}
        return self.by_key([len(errors) - 1 for errors in self.errors])

    def removed(self, levels):
        """Returns the fraction of each part that is gone, by name."""
        groups, keys = self._split(levels)
        found = []
        if self._channels:
            found += self._channels.removed(self._channels.kept(groups))
        found += [
            1 - float(self._weights.mask(key, level).mean())
            for key, level in keys.items()
        ]
        return dict(zip(self.names, found))

    def bits(self, levels):
        """Returns what each weight that is rounded is rounded to, by key."""
        _, keys = self._split(levels)
        return {
            key: bits for key, level in keys.items()
            if (bits := self._weights.bits(level))
        }

    def model_at(self, levels):
        """Returns a smaller model, with what stays refit."""
        masks = self._masks(levels)
        with measuring.restored(self._model.variables):
            self._remove(levels, self._values(masks))
            return self._small(levels, masks)

    def round(self, model, levels):
        """Rounds weights of the model at some levels; returns whether any.

        It may have been trained since: what it reads counts, as it is now.
        """
        bits = self.bits(levels)
        if not bits:
            return False
        variables, keys = weights_lib.variables(model), self._keys_at(levels)
        found = refits.Refits(
            model, {keys[key]: variables[keys[key]] for key in bits},
            self._inputs,
        )
        for key, width in bits.items():
            for variable, now in found[keys[key]].rounded(width):
                variable.assign(now)
        return True

    def empty_at(self, levels):
        """Returns a model of the same shapes and masks, to read into."""
        return self._small(levels, self._masks(levels))

    def _keys_at(self, levels):
        """What the weights are called in the model at some levels, by key."""
        groups, _ = self._split(levels)
        renamed = {}
        if any(groups):
            renamed = self._channels.keys(self._channels.kept(groups))
        return {key: renamed.get(key, key) for key in self._keys}

    def _split(self, levels):
        number = len(self.groups)
        return list(levels[:number]), dict(zip(self._keys, levels[number:]))

    def _set(self, prices):
        """Takes the prices; where zeros are free, weights are left alone."""
        self._prices = prices
        self._keys = [key for key in self._keys if key in prices.nbytes]
        self.names = [*self.groups, *self._keys]

    def _priced(self, shares, whole):
        if shares is None and self._keys:
            return prices_lib.Prices({}, dict.fromkeys(self._keys, 1.0))
        macs, _ = self._left((0,) * len(self.groups))
        if shares is None:
            return prices_lib.Prices(dict.fromkeys(macs, 1.0), {})
        return prices_lib.of_shares(shares, whole, self._sizes, macs, {
            key: self._weights.costs(key)[0] for key in self._keys
        })

    def _left(self, groups):
        """Multiplications, and the share of each weight, that are left."""
        if not self._channels:
            return self._sizes, {}
        if groups not in self._found:
            kept = self._channels.kept(groups)
            cut = self._channels.cut(kept)
            counted = self._prices is None or self._prices.macs
            self._found[groups] = (
                self._channels.macs(kept) if counted else {},
                {
                    key: math.prod(float(mask.mean()) for _, mask in found)
                    for key, found in cut.slices.items()
                },
            )
        return self._found[groups]

    def _masks(self, levels):
        """What is left of each weight that anything is removed from."""
        groups, keys = self._split(levels)
        masks = {
            key: self._weights.mask(key, level)
            for key, level in keys.items() if level
        }
        if self._channels:
            kept = self._channels.kept(groups)
            for key, mask in self._channels.read(kept).items():
                masks[key] = masks.get(key, True) & mask
        return masks

    def _remove(self, levels, values):
        groups, _ = self._split(levels)
        if self._channels:
            self._channels.zero(self._channels.kept(groups))
        for variable, value in values:
            variable.assign(value)

    def _values(self, masks):
        return [
            pair for key, mask in masks.items()
            for pair in self._refit(key).values(mask)
        ]

    def _small(self, levels, masks):
        groups, keys = self._split(levels)
        masks = {
            k: mask for k, mask in masks.items()
            if k in keys and not mask.all()
        }
        if any(groups):
            kept = self._channels.kept(groups)
            cut = self._channels.cut(kept)
            made, renamed = self._channels.shrunk(kept), self._keys_at(levels)
            masks = {
                renamed[key]: cut.array(key, mask)
                for key, mask in masks.items()
            }
        else:
            made = copies.strip(self._model)
        if made.compiled and getattr(made, "optimizer", None) is not None:
            holding.hold(made, masks)
        return made

    def _some(self):
        """As many inputs as there is time to measure distances on."""
        work = self._channels and sum(self._channels.macs(
            self._channels.kept([0] * len(self.groups))
        ).values())
        number = batches_lib.len_of(self._inputs)
        most = max(_LEAST, int(_WORK / work)) if work else number
        chosen = np.linspace(0, number - 1, min(most, number)).round()
        return keras.tree.map_structure(
            lambda a: a[chosen.astype(int)], self._inputs
        )

    def _of(self, part):
        """The variables that change with a part, but for biases."""
        if part >= len(self.groups):
            return [self._variables[self.names[part]]]
        levels = [0] * len(self.groups)
        levels[part] = len(measuring.RATIOS) - 1
        return self._channels.zeroed(self._channels.kept(levels))

    def _errors_of(self, index, distance):
        levels = [0] * len(self.names)

        def measure(level):
            levels[index] = level
            values = self._values(self._masks(levels))
            changing = list({id(v): v for v in (
                *(variable for variable, _ in values),
                *self._channels.zeroed(
                    self._channels.kept(self._split(levels)[0])
                ),
            )}.values())
            distance.start_at(changing)
            with measuring.restored(changing):
                self._remove(levels, values)
                return distance()

        return measuring.curve(len(measuring.RATIOS), measure)

    def _refit(self, key):
        self._calibrate()
        return self._refits[key]

    def _calibrate(self):
        if self._refits is None:
            self._refits = refits.Refits(
                self._model, self._variables, self._inputs
            )
