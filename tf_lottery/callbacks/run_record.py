"""What a run has found so far, in memory and in its directory."""

from tf_lottery import masks as masks_lib
from tf_lottery import results as results_lib
from tf_lottery import ticket as ticket_lib
from tf_lottery import weights as weights_lib


class RunRecord:
    """Results, masks and starting points of the rounds of a run.

    Args:
        monitor: `tf_lottery.results.Monitor`, by which rounds are compared.
        provenance: Dict that tickets carry. Defaults to an empty one.
        files: `tf_lottery.run_directory.RunDirectory` that everything is
            written to, or `None`.
    """

    def __init__(self, monitor, provenance=None, files=None):
        self.monitor = monitor
        self.provenance = provenance or {}
        self.files = files
        self.results = []
        self.shared_start = None
        self._masks = []
        self._starts = {}

    def begin_round(self, masks, start=None):
        """Notes the masks of the next round.

        Args:
            masks: Dict from weight key to boolean array.
            start: `Snapshot` that this round alone starts from. Defaults to
                `None`: it starts from the rewinding point.
        """
        round = len(self._masks)
        self._masks.append(
            {k: (masks_lib.pack(m), m.shape) for k, m in masks.items()}
        )
        if start is not None:
            self._starts[round] = start
        if self.files is not None:
            self.files.save_masks(round, masks)
            if start is not None:
                self.files.save_start(round, start)

    def set_start(self, snapshot):
        """Notes the rewinding point."""
        self.shared_start = snapshot
        if self.files is not None:
            self.files.save_snapshot(snapshot)

    def end_round(self, result):
        """Notes the `RoundResult` of a round."""
        self.results.append(result)
        if self.files is not None:
            self.files.save_results(self.results)

    def forget_round(self):
        """Forgets the round that has begun last."""
        self._masks.pop()
        self._starts.pop(len(self._masks), None)

    def load(self, results, rounds, has_start=True):
        """Reads masks and starting points of earlier rounds back.

        Args:
            results: List of `RoundResult`.
            rounds: Integer, how many rounds have begun.
            has_start: Boolean, whether the rewinding point was reached.
        """
        self.results = list(results)
        self.files.save_results(self.results)
        if has_start:
            self.shared_start = self.files.load_snapshot()
        for round in range(rounds):
            masks = self.files.load_masks(round)
            self._masks.append(
                {k: (masks_lib.pack(m), m.shape) for k, m in masks.items()}
            )
            start = self.files.load_start(round)
            if start is not None:
                self._starts[round] = start

    def masks(self, round):
        """Returns the masks of a round."""
        return {
            key: masks_lib.unpack(bits, shape)
            for key, (bits, shape) in self._masks[round].items()
        }

    def ticket(self, round):
        """Returns the `Ticket` that a round trained."""
        known = isinstance(round, int) and 0 <= round < len(self._masks)
        if not known or self.shared_start is None:
            raise ValueError(
                "Argument `round` must be a round that was trained. "
                f"Received: round={round!r}. "
                f"Expected: 0 to {len(self._masks) - 1}."
            )
        done = round < len(self.results)
        return ticket_lib.Ticket(
            self.masks(round),
            self._starts.get(round, self.shared_start),
            round=round,
            metrics=dict(self.results[round].metrics) if done else {},
            pattern=self.provenance.get("pattern", "unstructured"),
            provenance={**ticket_lib.versions(), **self.provenance},
        )

    def winning_ticket(self):
        """Returns the sparsest winning `Ticket`, or `None`."""
        result = results_lib.winner(self.results, self.monitor)
        return None if result is None else self.ticket(result.round)


def describe(model, plan):
    """Returns what has to be the same for a run to go on.

    Args:
        model: A compiled `keras.Model`.
        plan: `tf_lottery.rounds.RoundPlan`.
    """
    optimizer = model.optimizer
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    optimizer_config = {
        key: value
        for key, value in optimizer.get_config().items() if key != "name"
    }
    return {
        "steps_per_epoch": plan.steps_per_epoch,
        "optimizer": [type(optimizer).__name__, repr(optimizer_config)],
        "weights": {
            key: [str(variable.dtype), *variable.shape]
            for key, variable in weights_lib.variables(model).items()
        },
        "versions": ticket_lib.versions(),
    }
