"""Significance: one-sided tests of differences over paired trials."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import scipy

LEVEL = 0.05
# Fewer trials are a pilot.
PILOT = 5
POWER = 0.8
_MOST = 200
# Metrics are float32: equal differences may differ in the seventh digit.
_EQUAL = 1e-6
# Up to 14 trials all flips of signs are gone through.
_RESAMPLES = 1 << 14
_LEAST = 1e-15


@dataclasses.dataclass(frozen=True)
class Test:
    """What trials say of a difference.

    The spread is the standard deviation (n - 1), the effect the mean in units
    of it; `images_sd` bounds the sampling error of the test images. The ends
    are those of the 90 % t-interval, which is what a one-sided test at 5 %
    looks at. `p` is how likely such a difference is where the true one is not
    above minus the margin, by a `"t-test"` or `"sign flips"`; `None` where
    nothing is tested.
    """

    __test__ = False

    mean: float
    spread: float
    images_sd: float
    low: float | None
    high: float | None
    effect: float | None
    p: float | None
    method: str


def test(
    differences: Sequence[float],
    margin: float | None = 0.0,
    images_sd: float = 0.0,
) -> Test:
    """Returns the `Test` whether paired differences lie above minus a margin.

    With margin 0 it is a test of superiority, otherwise of non-inferiority;
    `None` describes and tests nothing. Below five trials it is a t-test, which
    takes the differences as normally distributed; from five on the signs are
    flipped, exactly up to 14 trials, which takes them as symmetric. In either
    case the mean and the margin must exceed the root of the summed squares of
    two critical values, that of the t-test and 1.645 times the sampling error
    of the images: the mean has both errors, and of the latter the trials show
    nothing.

    >>> found = test([0.001, -0.001, 0.003, 0.002, 0.0], margin=0.005)
    >>> found.p, found.method
    (0.03125, 'sign flips')
    """
    values = np.asarray(differences, "float64")
    mean, spread = values.mean(), float(_spread(values[None])[0])
    p, method = None, ""
    if margin is not None:
        p = float(p_values(values[None], margin, images_sd)[0])
        method = "sign flips" if _flips(values[None])[0] else "t-test"
    reach = None
    if len(values) > 1:
        reach = scipy.stats.t.isf(LEVEL, len(values) - 1) * (
            spread / len(values) ** 0.5
        )
    return Test(
        float(mean),
        spread,
        float(images_sd),
        None if reach is None else float(mean - reach),
        None if reach is None else float(mean + reach),
        float(mean / spread) if spread else None,
        p,
        method,
    )


def p_values(
    differences: np.ndarray,
    margin: float = 0.0,
    images_sd: float | np.ndarray = 0.0,
) -> np.ndarray:
    """Returns the p-values of tests of `(tests, trials)`; 1 of single ones."""
    if np.shape(differences)[1] < 2:
        return np.ones(len(differences))
    shifted = np.asarray(differences, "float64") + margin
    # Differences of just the margin are no evidence, however they round.
    shifted[np.abs(shifted) <= _EQUAL] = 0.0
    p = _joint(shifted, np.broadcast_to(images_sd, shifted.shape[:1]))
    flipped = _flips(shifted)
    if flipped.any():
        p[flipped] = np.maximum(p[flipped], scipy.stats.permutation_test(
            (shifted[flipped],), np.mean, permutation_type="samples",
            vectorized=True, axis=-1, alternative="greater",
            n_resamples=_RESAMPLES, rng=np.random.default_rng(0),
        ).pvalue)
    return p


def images_sd(
    dense: float | np.ndarray, ticket: float | np.ndarray, images: int
) -> float | np.ndarray:
    """Returns a bound of the sampling error of a difference of accuracies.

    All trials may share the test images: it does not shrink with their number.
    By how much the same images make it smaller is not known here.

    >>> float(round(100 * images_sd(0.98, 0.98, 10_000), 2))
    0.2
    """
    return np.sqrt((dense * (1 - dense) + ticket * (1 - ticket)) / images)


def chance(difference: float, margin: float, images_sd: float) -> float:
    """Returns the p-value of one difference by the test images alone."""
    return float(scipy.stats.norm.sf((difference + margin) / images_sd))


def power(
    trials: int, spread: float, margin: float, images_sd: float = 0.0
) -> float:
    """Returns how likely a test passes where the true difference is 0.

    Both parts have to pass: the differences over trials at the level that
    flips of signs attain, and both critical values together.

    >>> round(power(3, 0.002 * 2 ** 0.5, 0.005), 1)
    0.6
    """
    if trials < PILOT:
        if spread <= _EQUAL:
            return 0.0
        return _power_at(LEVEL, trials, spread, margin, images_sd)
    attained = np.floor(LEVEL * 2**trials) / 2**trials
    return min(
        _power_at(attained, trials, spread, margin, 0.0),
        _power_at(LEVEL, trials, spread, margin, images_sd),
    )


def trials_needed(likely: Callable[[int], float]) -> int | None:
    """Returns how many trials show an equal ticket in 4 of 5 cases, 5 or more.

    `None` if 200 would not do.
    """
    return next(
        (n for n in range(PILOT, _MOST + 1) if likely(n) >= POWER), None
    )


def images_needed(dense: float, margin: float) -> int:
    """Returns from how many test images on a margin can be shown at all.

    >>> images_needed(0.98, 0.005)
    4243
    """
    variance = 2 * dense * (1 - dense)
    return int(np.ceil(variance * (scipy.stats.norm.isf(LEVEL) / margin) ** 2))


def _power_at(level, trials, spread, margin, images_sd):
    """The power of the joint test, over what variance may be found."""
    freedom = trials - 1
    quantiles = (np.arange(200) + 0.5) / 200
    error = max(spread, _EQUAL) / trials**0.5
    found = error**2 * scipy.stats.chi2.ppf(quantiles, freedom) / freedom
    reach = np.sqrt(
        found * scipy.stats.t.isf(level, freedom) ** 2
        + (images_sd * scipy.stats.norm.isf(LEVEL)) ** 2
    )
    return float(scipy.stats.norm.sf((reach - margin) / error).mean())


def _joint(shifted, images):
    """The p-value at which both critical values add up to the mean."""
    # `import tf_lottery` need not wait for it.
    from scipy.optimize import elementwise

    mean, freedom = shifted.mean(1), shifted.shape[1] - 1
    found = elementwise.find_root(
        lambda p, trials, images, mean: (
            trials * scipy.stats.t.isf(p, freedom) ** 2
            + images * scipy.stats.norm.isf(p) ** 2 - mean**2
        ),
        (_LEAST, 0.5),
        args=(_spread(shifted) ** 2 / (freedom + 1), images**2, mean),
    )
    p = np.where(found.success, found.x, _LEAST)
    return np.where(mean > 0, p, 1 - p)


def _spread(values):
    if values.shape[1] < 2:
        return np.zeros(len(values))
    return np.where(_equal(values), 0.0, values.std(1, ddof=1))


def _equal(values):
    return np.ptp(values, 1) <= _EQUAL


def _flips(values):
    """Whether the signs are flipped: no t-test without any spread."""
    return _equal(values) | (values.shape[1] >= PILOT)
