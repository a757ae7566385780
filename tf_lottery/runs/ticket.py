"""Tickets: masks and the weights to start from, in one file."""

import dataclasses
import numbers
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_lottery import files
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.report import notebook
from tf_lottery.report import tables
from tf_lottery.runs import codec
from tf_lottery.utils import checks
from tf_lottery.utils import types
from tf_lottery.weights import snapshots

FORMAT_VERSION = 1
_FORMAT = "tf_lottery.ticket"
# What its header has of the arguments, besides masks and snapshot.
_FIELDS = {
    "round": int, "metrics": dict, "pattern": str, "provenance": dict,
    "verdict": str,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Ticket:
    """Masks, and the snapshot that training starts from.

    Attributes:
        masks: Dict from weight key to boolean array, `True` = kept.
        snapshot: `tf_lottery.weights.snapshots.Snapshot` at the rewinding
            point.
        round: Integer, the round of pruning it comes from (0 = dense).
        metrics: Dict of floats, what the ticket reached when it was trained.
        pattern: String, the pattern of the masks.
        provenance: Dict, what it was made with (versions, seed, arguments).
        verdict: String, what is known of it as a winning ticket, or `""`.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> model.compile("adam", "mse")
    >>> ticket = tfl.Ticket.of(model, {"fc/kernel": np.eye(8, 5, dtype=bool)})
    >>> ticket.apply(model)
    >>> ticket.density
    0.125
    """

    masks: dict[str, np.ndarray]
    snapshot: snapshots.Snapshot
    round: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    pattern: str = "unstructured"
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    verdict: str = ""

    def __post_init__(self):
        checks.kind(
            "snapshot", self.snapshot, snapshots.Snapshot,
            "a `tf_lottery.weights.snapshots.Snapshot`",
        )
        checks.whole("round", self.round, 0)
        checks.mapping("metrics", self.metrics, "name to number")
        checks.mapping("provenance", self.provenance, "name to value")
        checks.text("pattern", self.pattern)
        checks.kind("verdict", self.verdict, str, "a string")
        masks_lib.count(self.masks)
        for key, mask in self.masks.items():
            weight = self.snapshot.weights.get(key)
            if np.shape(weight) != np.shape(mask) or weight is None:
                found = "none" if weight is None else np.shape(weight)
                raise ValueError(
                    f"The mask of '{key}' has shape {np.shape(mask)}, and "
                    f"its weight {found}."
                )
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ValueError(
                    f"Metric '{name}' must be a number. Received: {value!r}"
                )

    @classmethod
    def of(
        cls, model: keras.Model, masks: Mapping[str, np.ndarray] | None = None
    ) -> "Ticket":
        """Makes a ticket of a model's weights as they are now.

        Args:
            model: A built `keras.Model`.
            masks: Dict of masks. Defaults to those held on the model.

        Raises:
            ValueError: If the model is not built or the masks do not fit it.
        """
        masks = holding.masks_of(model) if masks is None else masks
        holding.check_masks(model, masks)
        snapshot = holding.capture(model, step=0)
        return cls(
            {key: np.array(mask) for key, mask in masks.items()},
            snapshots.Snapshot(0, snapshot.weights),
            provenance=versions(),
        )

    def __repr__(self):
        return (
            f"<Ticket of round {self.round}, density {self.density:.4g}, "
            f"{len(self.masks)} masks, step {self.snapshot.step}>"
        )

    def _repr_html_(self) -> str:
        table = tables.Table(["weights", "shape", "density %"], [
            [key, str(np.shape(mask)), f"{100 * np.mean(mask):.2f}"]
            for key, mask in self.masks.items()
        ])
        reached = [f"{name}: {v:.4g}" for name, v in self.metrics.items()]
        return notebook.show(
            f"Ticket of round {self.round}, density {self.density:.2%}",
            table, "\n".join([self.verdict, ", ".join(reached)]).strip(),
        )

    @property
    def density(self) -> float:
        """Float, the fraction of the prunable weights that is kept."""
        return masks_lib.density(self.masks)

    @property
    def sparsity(self) -> float:
        """Float, the fraction of the prunable weights that is removed."""
        return 1.0 - self.density

    def apply(self, model: keras.Model) -> None:
        """Rewinds a model to this ticket; its masks are held from now on.

        Weights that the ticket has no mask for lose the one they had. The
        optimizer gets the state of the rewinding point where the ticket
        has one that fits it; otherwise it starts afresh at that step, so that
        a learning-rate schedule resumes from there.

        Args:
            model: A built `keras.Model` of the same architecture, compiled
                unless its layers are wrapped.

        Raises:
            ValueError: If the model is not built or not compiled, or is of
                another architecture; the message lists the differences. The
                model is untouched then.
        """
        self.check_fits(model)
        held = holding.masks_of(model)
        masks = {k: np.ones_like(m) for k, m in held.items()} | self.masks
        holding.hold(model, masks)
        variables = weights_lib.variables(model)
        known = [key for key in self.snapshot.weights if key in variables]
        snapshots.restore(
            [variables[key] for key in known],
            [self.snapshot.weights[key] for key in known],
        )
        if model.compiled:
            self._restore_optimizer(model)
        holding.hold(model, masks)

    def save(self, path: types.Path) -> None:
        """Writes the ticket to one file, atomically.

        The file is a JSON header and raw arrays in the layout of safetensors;
        masks take one bit for a weight. There is no pickle.

        Args:
            path: Path of the file; its directory must exist.

        Raises:
            OSError: If the file cannot be written; none is left then.
        """
        checks.path("path", path)
        arrays, header = codec.encode_masks(self.masks)
        starts, start = codec.encode_snapshot(self.snapshot)
        files.write_arrays(
            path,
            arrays | starts,
            {
                "format": _FORMAT,
                "version": FORMAT_VERSION,
                **header,
                **start,
                **{name: getattr(self, name) for name in _FIELDS},
            },
        )

    @classmethod
    def load(cls, path: types.Path) -> "Ticket":
        """Reads a ticket and checks every byte and every field of it.

        What it takes in memory is no more than what it says it holds.

        Args:
            path: Path of the file.

        Raises:
            FileNotFoundError: If there is no such file.
            tf_lottery.files.DamagedFileError: If the file is truncated,
                altered or no ticket.
            ValueError: If a newer tf_lottery wrote it.
        """
        checks.path("path", path)
        arrays, header = files.read_arrays(path)
        if header.get("format") != _FORMAT:
            raise files.DamagedFileError(
                f"File '{path}' is not a ticket. Received: "
                f"format={header.get('format')!r}. Expected: {_FORMAT!r}."
            )
        try:
            version = codec.field(header, "version", int)
            if version <= FORMAT_VERSION:
                return cls._of_file(arrays, header)
        except ValueError as error:
            raise files.DamagedFileError(
                f"Ticket '{path}' is damaged: its parts do not fit together. "
                f"{error}"
            ) from None
        raise ValueError(
            f"Ticket '{path}' has format version {version}, this tf_lottery "
            f"reads up to {FORMAT_VERSION}. Install a newer tf_lottery."
        )

    @classmethod
    def _of_file(cls, arrays, header):
        parts = {name.partition("/")[0] for name in arrays}
        if not parts <= {"mask", "weight", "optimizer"}:
            raise ValueError(f"It has other parts. Received: {sorted(parts)}")
        snapshot = codec.decode_snapshot(arrays, header)
        codec.check_finite(snapshot)
        return cls(
            codec.decode_masks(arrays, header),
            snapshot,
            **{
                # Tickets of the first release have no verdict.
                name: codec.field({"verdict": "", **header}, name, kind)
                for name, kind in _FIELDS.items()
            },
        )

    def check_fits(self, model: keras.Model) -> None:
        """Raises a `ValueError` unless the ticket fits a model.

        Args:
            model: A built `keras.Model`.
        """
        weights_lib.check_built(model)
        found = {
            key: tuple(variable.shape)
            for key, variable in weights_lib.variables(model).items()
            if not weights_lib.is_seed(variable)
        }
        own = {
            key: tuple(array.shape)
            for key, array in self.snapshot.weights.items()
            if not key.rpartition("/")[2].startswith(weights_lib.SEED_NAME)
        }
        if found != own:
            differences = [
                f"  {key}: {own.get(key, 'absent')} in the ticket, "
                f"{found.get(key, 'absent')} in the model"
                for key in sorted(found.keys() | own.keys())
                if found.get(key) != own.get(key)
            ]
            raise ValueError(
                f"The ticket does not fit model '{model.name}': it comes from "
                "another architecture. Differences:\n"
                + "\n".join(differences[:20])
            )
        holding.check_masks(model, self.masks)

    def _restore_optimizer(self, model):
        state = optimizers.state(model.optimizer)
        shapes = [tuple(v.shape) for v in state]
        names = ("", optimizers.name_of(model.optimizer))
        if self.snapshot.optimizer_name in names and shapes == [
            tuple(a.shape) for a in self.snapshot.optimizer
        ]:
            snapshots.restore(state, self.snapshot.optimizer)
            return
        optimizers.reset(
            model.optimizer, model.trainable_variables, self.snapshot.step
        )


def check(ticket):
    """Raises a `TypeError` unless an argument `ticket` is a `Ticket`."""
    checks.kind("ticket", ticket, Ticket, "a `tf_lottery.Ticket`")


def versions():
    """Returns the versions that a file's provenance names."""
    names = ["tf_lottery", "keras", keras.backend.backend()]
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        **{name: sys.modules[name].__version__ for name in names},
    }
