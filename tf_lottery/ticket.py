"""Tickets: masks and the weights to start from, in one file."""

import dataclasses
import sys

import keras
import numpy as np

from tf_lottery import files
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import snapshots
from tf_lottery import weights as weights_lib

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Ticket:
    """Masks, and the snapshot that training starts from.

    Attributes:
        masks: Dict from weight key to boolean array, `True` = kept.
        snapshot: `tf_lottery.snapshots.Snapshot` at the rewinding point.
        round: Integer, the round of pruning it comes from (0 = dense).
        metrics: Dict of floats, what the ticket reached when it was trained.
        pattern: String, the pattern of the masks.
        provenance: Dict, what it was made with (versions, seed, arguments).

    Example:

    >>> import keras, tf_lottery as tfl
    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> model.compile("adam", "mse")
    >>> ticket = tfl.Ticket.of(model, {"fc/kernel": np.eye(8, 5, dtype=bool)})
    >>> ticket.apply(model)
    >>> ticket.density
    0.125
    """

    masks: dict
    snapshot: snapshots.Snapshot
    round: int = 0
    metrics: dict = dataclasses.field(default_factory=dict)
    pattern: str = "unstructured"
    provenance: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, model, masks=None):
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

    @property
    def density(self):
        """Float, the fraction of the prunable weights that is kept."""
        return masks_lib.density(self.masks)

    @property
    def sparsity(self):
        """Float, the fraction of the prunable weights that is removed."""
        return 1.0 - self.density

    def apply(self, model):
        """Rewinds a model to this ticket; its masks are held from now on.

        Weights that the ticket has no mask for lose the one they had. The
        optimizer gets the state of the rewinding point where the ticket
        has one that fits it; otherwise it starts afresh at that step, so that
        a learning-rate schedule goes on from there.

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

    def save(self, path):
        """Writes the ticket to one file, atomically.

        The file is a JSON header and raw arrays in the layout of safetensors;
        masks take one bit for a weight. There is no pickle.

        Args:
            path: Path of the file; its directory must exist.

        Raises:
            OSError: If the file cannot be written; none is left then.
        """
        arrays = {
            f"mask/{key}": np.frombuffer(masks_lib.pack(mask), "uint8")
            for key, mask in self.masks.items()
        }
        arrays |= {f"weight/{k}": v for k, v in self.snapshot.weights.items()}
        arrays |= {
            f"optimizer/{i}": v for i, v in enumerate(self.snapshot.optimizer)
        }
        files.write_arrays(
            path,
            arrays,
            {
                "format": "tf_lottery.ticket",
                "version": FORMAT_VERSION,
                "shapes": {k: list(m.shape) for k, m in self.masks.items()},
                "density": self.density,
                "step": self.snapshot.step,
                "optimizer": self.snapshot.optimizer_name,
                "round": self.round,
                "metrics": self.metrics,
                "pattern": self.pattern,
                "provenance": self.provenance,
            },
        )

    @classmethod
    def load(cls, path):
        """Reads a ticket and checks every byte of it.

        Args:
            path: Path of the file.

        Raises:
            FileNotFoundError: If there is no such file.
            tf_lottery.files.DamagedFileError: If the file is truncated,
                altered or no ticket.
            ValueError: If a newer tf_lottery wrote it.
        """
        arrays, header = files.read_arrays(path)
        if header.get("format") != "tf_lottery.ticket":
            raise files.DamagedFileError(
                f"File '{path}' is not a ticket. Received: "
                f"format={header.get('format')!r}. "
                "Expected: 'tf_lottery.ticket'."
            )
        version = header.get("version")
        if not isinstance(version, int):
            raise files.DamagedFileError(
                f"Ticket '{path}' is damaged: it says no format version. "
                f"Received: version={version!r}."
            )
        if version > FORMAT_VERSION:
            raise ValueError(
                f"Ticket '{path}' has format version {version}, "
                f"this tf_lottery reads up to {FORMAT_VERSION}. "
                "Install a newer tf_lottery."
            )
        try:
            return cls._of_file(arrays, header)
        except (KeyError, TypeError, ValueError) as error:
            raise files.DamagedFileError(
                f"Ticket '{path}' is damaged: its parts do not fit together "
                f"({error!r})."
            ) from None

    @classmethod
    def _of_file(cls, arrays, header):
        parts = {"mask": {}, "weight": {}, "optimizer": {}}
        for name, array in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = array
        return cls(
            {
                key: masks_lib.unpack(bits.tobytes(), header["shapes"][key])
                for key, bits in parts["mask"].items()
            },
            snapshots.Snapshot(
                header["step"],
                parts["weight"],
                [parts["optimizer"][k] for k in sorted(parts["optimizer"],
                                                       key=int)],
                header["optimizer"],
            ),
            round=header["round"],
            metrics=header["metrics"],
            pattern=header["pattern"],
            provenance=header["provenance"],
        )

    def check_fits(self, model):
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


def versions():
    """Returns the versions that a file's provenance names."""
    names = ["tf_lottery", "keras", keras.backend.backend()]
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        **{name: sys.modules[name].__version__ for name in names},
    }
