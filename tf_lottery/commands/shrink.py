"""`tf-lottery shrink`: make a saved model physically smaller."""

import pathlib

import rich.console

from tf_lottery import experiments
from tf_lottery import files
from tf_lottery import structured
from tf_lottery.commands import models

_BUDGETS = {
    "ratio": "fraction of the units to remove",
    "params": "parameters at most; up to 1, a fraction of those there are",
    "macs": "multiply-accumulates of one sample at most, or a fraction",
    "bytes": "bytes of the weights at most, or a fraction",
    "latency-ms": "milliseconds for one sample at most, measured here",
}


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "shrink",
        help="remove channels or dead units from a saved model",
        description="Removes whole channels, units and heads from a saved "
        "model and writes the small one, proved to compute what the big one "
        "does without them.",
    )
    parser.add_argument("model", metavar="MODEL", help="a .keras file")
    budget = parser.add_mutually_exclusive_group(required=True)
    for name, text in _BUDGETS.items():
        budget.add_argument(
            f"--{name}", type=float, metavar="NUMBER", help=text
        )
    budget.add_argument(
        "--plan", metavar="FILE", help="carry out a plan written before"
    )
    budget.add_argument(
        "--compact",
        action="store_true",
        help="remove what the masks (or zeros) have made dead: loses nothing",
    )
    parser.add_argument(
        "--criterion",
        default="magnitude",
        metavar="NAME",
        help="what units are worth: magnitude, l1, fpgm, bn_scale, taylor, "
        "random (default: magnitude)",
    )
    parser.add_argument(
        "--scope",
        choices=("group", "global"),
        default="group",
        metavar="SCOPE",
        help="group: from every group alike; global: all units ranked "
        "together (default: group)",
    )
    parser.add_argument(
        "--round-to",
        type=int,
        default=1,
        metavar="N",
        help="keep multiples of N units (default: 1)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="LAYER",
        help="a layer whose units stay, by name or pattern; may be repeated",
    )
    parser.add_argument(
        "--data",
        choices=sorted(experiments.LOADERS),
        metavar="NAME",
        help="data set for the criterion taylor",
    )
    parser.add_argument(
        "--save-plan",
        metavar="FILE",
        help="write the plan as JSON, for another checkpoint of the model",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="print every group, and what is frozen and why",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="plan and report, but write no model",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the .keras file to write (default: MODEL.small.keras)",
    )
    parser.set_defaults(command=_shrink)


def _shrink(arguments):
    out = models.output_path(arguments.model, arguments.out, ".small.keras")
    model = models.load(arguments.model)
    console = rich.console.Console(highlight=False)
    if arguments.compact:
        small = structured.compact(model)
        report = structured.report_of(small)
        plan, text = report.plan, str(report)
    else:
        plan = _plan(model, arguments)
        text = plan.report() if arguments.report else _summary(plan)
    console.print(text, soft_wrap=True, markup=False)
    if arguments.save_plan:
        files.write_text(arguments.save_plan, plan.to_json(indent=1))
        console.print(f"written: {arguments.save_plan}", soft_wrap=True)
    if arguments.dry_run:
        return
    if not arguments.compact:
        small = structured.shrink(model, plan)
    console.print(str(structured.proof_of(small)), soft_wrap=True)
    files.save_model(small, out)
    console.print(f"written: {out}", soft_wrap=True)


def _plan(model, arguments):
    if arguments.plan:
        path = pathlib.Path(arguments.plan)
        return structured.Plan.from_json(path.read_text())
    budget = {
        name: value
        for name in (name.replace("-", "_") for name in _BUDGETS)
        if (value := getattr(arguments, name)) is not None
    }
    data = None
    if arguments.data:
        loaded = experiments.load(arguments.data)
        data = loaded.x_train[:1000], loaded.y_train[:1000]
    return structured.plan(
        model,
        **budget,
        criterion=arguments.criterion,
        scope=arguments.scope,
        round_to=arguments.round_to,
        exclude=arguments.exclude,
        data=data,
    )


def _summary(plan):
    """The last lines of a report: what it costs before and after."""
    return plan.report().rpartition("\n\n")[2]
