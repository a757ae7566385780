"""The record of a run, in memory and in its directory."""

import dataclasses
import time

from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery.runs import results as results_lib
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.utils import checks
from tf_lottery.verdicts import definitions


class RunRecord:
    """Results, masks and starts of rounds; without files in memory alone."""

    def __init__(self, monitor, provenance=None, files=None):
        self.monitor = monitor
        self.provenance = provenance or {}
        self.files = files
        self.results = []
        self.shared_start = self.trained = None
        self._masks = []
        self._starts = {}
        self._early_stop = None
        self._began = time.perf_counter()

    def begin_round(self, masks, start=None):
        """Notes the masks of the next round, and where it alone starts from."""
        round = len(self._masks)
        self._masks.append(_packed(masks))
        if start is not None:
            self._starts[round] = start
        self._early_stop = None
        self._began = time.perf_counter()
        if self.files is not None:
            self.files.save_masks(round, masks)
            if start is not None:
                self.files.save_weights(round, "start", start)

    def take_start(self, model, clock):
        """Captures the rewinding point when training stands there."""
        if self.shared_start or not clock.plan.is_known:
            return
        point = clock.plan.rewind_step
        if clock.now > point:
            raise ValueError(
                f"The rewinding point, step {point}, was passed unseen: step "
                f"{clock.now} was the first that ended after it. Choose a "
                "multiple of `steps_per_execution` for `rewind_to`, or the "
                "end of an epoch."
            )
        if clock.now == point:
            self.shared_start = holding.capture(model, point)
            if self.files is not None:
                self.files.save_snapshot(self.shared_start)

    def start_after(self, clock):
        """Returns the rewinding point; raises if round 0 never reached it."""
        if self.shared_start is None:
            raise ValueError(
                f"Round 0 was stopped at step {clock.now}, before the "
                f"rewinding point, step {clock.plan.rewind_step}. "
                "Choose an earlier `rewind_to`, or more patient "
                "`round_callbacks`."
            )
        return self.shared_start

    def note_epoch(self, logs, step):
        loss = logs.get("val_loss")
        if loss is None:
            return
        if self._early_stop is None or loss < self._early_stop[0]:
            self._early_stop = (float(loss), step)

    def set_trained(self, snapshot):
        self.trained = snapshot
        if self.files is not None:
            self.files.save_weights(
                len(self.results), "trained", snapshot
            )

    def end_round(self, logs, step, effective_density=None):
        round = len(self.results)
        masks = self.masks(round)
        result = results_lib.RoundResult(
            round=round,
            density=masks_lib.density(masks),
            densities=masks_lib.densities(masks),
            metrics={k: float(v) for k, v in logs.items() if k != "round"},
            steps=step,
            early_stop_step=self._early_stop and self._early_stop[1],
            seconds=time.perf_counter() - self._began,
            effective_density=effective_density,
        )
        self.results.append(result)
        if self.files is not None:
            self.files.save_results(self.results)
        return result

    def forget_round(self):
        self._masks.pop()
        self._starts.pop(len(self._masks), None)

    def to_dict(self):
        """Returns what its files do not hold, as plain values."""
        return {
            "results": [result.to_dict() for result in self.results],
            "rounds": len(self._masks),
            "snapshot": self.shared_start is not None,
            "early_stop": self._early_stop,
            "elapsed": time.perf_counter() - self._began,
        }

    def restore(self, values):
        """Restores what `to_dict` returned, and the rest from its files."""
        self.results = [
            results_lib.RoundResult.from_dict(row)
            for row in values["results"]
        ]
        self.files.save_results(self.results)
        if values["snapshot"]:
            self.shared_start = self.files.load_snapshot()
        for round in range(values["rounds"]):
            masks = self.files.load_masks(round)
            self._masks.append(_packed(masks))
            start = self.files.load_weights(round, "start")
            if start is not None:
                self._starts[round] = start
        self.trained = self.files.load_weights(
            len(self.results) - 1, "trained"
        )
        self._early_stop = values["early_stop"]
        self._began = time.perf_counter() - values["elapsed"]

    def masks(self, round):
        return {
            key: masks_lib.unpack(bits, shape)
            for key, (bits, shape) in self._masks[round].items()
        }

    def ticket(self, round):
        known = isinstance(round, int) and 0 <= round < len(self._masks)
        if not known or self.shared_start is None:
            checks.refuse(
                "round", round, "a round that was trained, of 0 to "
                f"{len(self._masks) - 1}",
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

    def candidate_ticket(self):
        result = results_lib.candidate(self.results, self.monitor)
        return None if result is None else dataclasses.replace(
            self.ticket(result.round), verdict=definitions.ONE_TRIAL
        )


def _packed(masks):
    return {key: (masks_lib.pack(m), m.shape) for key, m in masks.items()}
