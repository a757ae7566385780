"""The proof that a small model computes what the masked big one does."""

import contextlib
import dataclasses
import time
import weakref

import keras

from tf_lottery import weights as weights_lib
from tf_lottery.structured import comparing

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
_PROOFS = weakref.WeakKeyDictionary()


class VerificationError(RuntimeError):
    """A small model could not be proved equal to the masked big one."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was found when a small model was compared with the big one.

    Errors are the largest absolute difference of an output, relative to the
    largest absolute value of it.

    Attributes:
        error: Float, under random weights: kernels that read removed units
            are zero in the big model, whose statistics are calibrated then;
            so are weights that make units which a mean square counts.
        weights_error: Float, under the weights the model has; `None` where
            those are not finite.
        control: Float, the smallest error that a fault put in on purpose
            made: at several depths the inputs of one kernel are rolled.
        controls: Dict from weight key to the error of its control.
        blind: List of weight keys where a fault showed nothing.
        dtype: String, the precision of the proof.
        tolerance: Float, what the errors must not exceed.
        seconds: Float.
    """

    error: float
    weights_error: float | None
    control: float
    controls: dict[str, float]
    blind: list[str]
    dtype: str
    tolerance: float
    seconds: float

    def __str__(self):
        own = "not finite"
        if self.weights_error is not None:
            own = f"{self.weights_error:.1e}"
        return (
            f"Proved equal in {self.dtype}: relative error {self.error:.1e} "
            f"under random weights, {own} under its own (at most "
            f"{self.tolerance:.0e}); a fault put in on purpose shows as "
            f"{self.control:.1e} or more. {self.seconds:.1f} s"
        )


def proof_of(model: keras.Model) -> Proof:
    """Returns the proof of a model that `structured` returned.

    Args:
        model: `keras.Model`, the very object they returned.

    Returns:
        A `Proof`.

    Raises:
        ValueError: If there is none.
    """
    weights_lib.check_layer(model)
    if model not in _PROOFS:
        raise ValueError(
            f"Model '{model.name}' has no proof in this process. Expected a "
            "model returned by `structured.shrink`, `compact` or `centre`."
        )
    return _PROOFS[model]


def attach(model, proof):
    """Makes `proof_of(model)` return a proof."""
    _PROOFS[model] = proof


def prove(graph, kept, cut, twin, exact, say, masks=None, inputs=None):
    """Proves that a small model computes the same as the masked big one.

    Both run in float64 themselves, not copies of them. A model that cannot
    run in it is proved in float32. The reference is the big model with the
    weights zero that `masks` prune, or else that read removed units.

    Raises:
        VerificationError: If the models differ, or if no fault put in on
            purpose shows, so that the comparison says nothing.
    """
    start = time.perf_counter()
    for dtype in ("float64", "float32"):
        last = dtype == "float32"
        pair = comparing.Pair(graph, kept, cut, twin, dtype, say)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(pair.opened(inputs, masks))
            # Code of the user's may raise anything in a precision it is not
            # for.
            except Exception as failure:
                if last:
                    given = "" if inputs is None else "On `inputs`: "
                    raise VerificationError(
                        f"A small '{graph.model.name}' cannot be proved equal. "
                        f"{given}{failure}"
                    ) from failure
                continue
            error = pair.weights_error(exact)
            random_error, controls = pair.random_error()
        errors = [random_error, *([] if error is None else [error])]
        if max(errors) <= TOLERANCES[dtype] or last or not pair.is_mixed():
            break
    return _judge(
        graph, dtype, error, random_error, controls, time.perf_counter() - start
    )


def _judge(graph, dtype, error, random_error, controls, seconds):
    name = graph.model.name
    tolerance = TOLERANCES[dtype]
    for under, value in (("random", random_error), ("its own", error)):
        if value is not None and not value <= tolerance:
            raise VerificationError(
                f"The small model does not compute what '{name}' computes "
                f"without the removed units. Received: relative error "
                f"{value:.2e} in {dtype}, under {under} weights. Expected: "
                f"at most {tolerance:.0e}."
            )
    floor = comparing.floor_of(random_error, dtype)
    seen = {key: value for key, value in controls.items() if value >= floor}
    if not seen:
        raise VerificationError(
            f"The comparison of the small model with '{name}' says nothing: "
            "faults put in on purpose do not show. Received: errors "
            f"{controls} at the faults. Expected: at least {floor:.1e}. Pass "
            "`inputs` that the output depends on."
        )
    return Proof(
        random_error,
        error,
        min(seen.values()),
        seen,
        [key for key in controls if key not in seen],
        dtype,
        tolerance,
        seconds,
    )
