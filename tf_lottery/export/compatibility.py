"""Where a file runs, tried: runtimes that were not asked for too."""

import contextlib
import math

from tf_lottery.export import arguments
from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import samples as samples_lib
from tf_lottery.export import vela
from tf_lottery.export.targets import ethos_u

# What a microcontroller may hold and compute; its reference kernels are slow.
_MOST_BYTES = 4 << 20
_MOST_MACS = 50_000_000


def on_npu(candidate, estimate=None):
    """Returns the `check.Outcome` of compiling a candidate for Ethos-U.

    One that leaves operators to the CPU fails. `estimate` is Vela's, if the
    file is compiled already.
    """
    reason = None
    try:
        if candidate.row.quantize != "int8":
            reason = "it is not int8"
        elif estimate is None:
            accelerator = next(iter(ethos_u.DEFAULTS.values()))
            estimate = vela.compile(candidate.content, accelerator)[1]
    except vela.CompilationError as error:
        reason = str(error)
    if estimate is not None and estimate.on_cpu:
        reason = "; ".join(f"{o.name} {o.reason}" for o in estimate.on_cpu)
    return check.Outcome(
        arguments.VELA, "Vela", math.inf if reason else 0.0, 0.0, reason
    )


def try_others(job, candidate, macs, npu):
    """Returns outcomes of a file in installed runtimes that did not check it.
    """
    tried = {outcome.runtime for outcome in candidate.row.checks}
    found = []
    if len(candidate.content) > _MOST_BYTES or macs > _MOST_MACS:
        return found
    if children.MICRO not in tried and children.micro_installed():
        samples = samples_lib.Samples.of(job.source, job.inputs, job.batch)
        with contextlib.ExitStack() as stack:
            runtime = children.started(stack, children.MICRO)
            found += check.Checker([runtime], samples).check(
                candidate.content, candidate.row.quantize, dense=True
            )
    if arguments.VELA not in tried and vela.command() and (
        candidate.row.quantize == "int8"
    ):
        found.append(on_npu(candidate, npu and npu.file))
    return found
