"""Where a file runs, tried: runtimes that were not asked for too."""

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


def on_npu(candidate):
    """Returns the `check.Outcome` of compiling a file for Ethos-U.

    Args:
        candidate: `candidates.Candidate`. One that leaves operators to the
            CPU fails.
    """
    reason = None
    if candidate.row.quantize != "int8":
        reason = "it is not int8"
    else:
        try:
            _, found = vela.compile(
                candidate.content, next(iter(ethos_u.DEFAULTS.values()))
            )
            if found.on_cpu:
                reason = "; ".join(f"{o.name} {o.reason}" for o in found.on_cpu)
        except vela.CompilationError as error:
            reason = str(error)
    return check.Outcome(
        arguments.VELA, "Vela", math.inf if reason else 0.0, 0.0, reason
    )


def try_others(job, candidate, macs):
    """Returns outcomes of a file in installed runtimes that did not check it.

    Args:
        job: `examining.Job`.
        candidate: `candidates.Candidate`, the file to be written.
        macs: Integer, multiplications of one call.
    """
    tried = {outcome.runtime for outcome in candidate.row.checks}
    found = []
    if len(candidate.content) > _MOST_BYTES or macs > _MOST_MACS:
        return found
    if children.MICRO not in tried and children.micro_installed():
        samples = samples_lib.Samples.of(job.source, job.inputs, job.batch)
        with children.Runtime(children.MICRO) as runtime:
            found += check.Checker([runtime], samples).check(
                candidate.content, candidate.row.quantize, dense=True
            )
    if arguments.VELA not in tried and vela.command() and (
        candidate.row.quantize == "int8"
    ):
        found.append(on_npu(candidate))
    return found
