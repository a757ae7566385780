"""`tf-lottery analyze`: what the papers measure, on a run that is there."""

import argparse
import fractions

import rich.box
import rich.console
import rich.table

from tf_lottery import experiments
from tf_lottery.commands import bars
from tf_lottery.commands import run
from tf_lottery.experiments import durations
from tf_lottery.experiments.analyses import analyze
from tf_lottery.experiments.analyses import session

_DESCRIPTION = (
    "Analyses a run of `tf-lottery run`, whose preset says model, data and "
    "protocol. The results are written to DIR/analysis, and `tf-lottery "
    "report` shows them. Kinds that look at trained weights train tickets "
    "again, as the run did; these weights are kept, and an analysis that was "
    "interrupted goes on."
)


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "analyze", help="measure stability, connectivity and more on a run",
        description=_DESCRIPTION,
    )
    kinds = parser.add_subparsers(
        metavar="KIND", required=True, dest="kind",
        title="kinds of analyses",
    )
    for kind in analyze.KINDS.values():
        one = kinds.add_parser(
            kind.name, help=kind.help, description=f"{kind.title}: "
            f"{kind.help}. {_DESCRIPTION}",
        )
        _add_arguments(one, kind.options)
        one.set_defaults(command=_analyze)


def _add_arguments(parser, options):
    parser.add_argument(
        "directory", metavar="DIR",
        help="the directory that `tf-lottery run` wrote to, finished or not",
    )
    parser.add_argument(
        "--rounds", type=_rounds, metavar="ROUNDS",
        help="rounds to look at, such as 3,7,9 (default: all; for kinds that "
        "are slow, the winning tickets' and the paper's)",
    )
    for name in options:
        read, metavar, help = _OPTIONS[name]
        parser.add_argument(
            f"--{name}", type=read, metavar=metavar, help=help,
            dest={"epsilon": "epsilons"}.get(name, name),
        )
    parser.add_argument(
        "--output-dir", metavar="OUT",
        help="directory for the results (default: DIR/analysis)",
    )
    parser.add_argument(
        "--png", action="store_true",
        help="write the charts as PNG files, too (needs tf_lottery[plot])",
    )


def _analyze(arguments):
    known = {"rounds", "epsilons", *_OPTIONS}
    options = {
        name: value for name, value in vars(arguments).items()
        if name in known and value is not None
    }
    console = rich.console.Console(highlight=False)
    run.make_deterministic()
    with _Shown(console) as shown:
        finding, paths = experiments.analyze(
            arguments.kind, arguments.directory, arguments.output_dir, shown,
            arguments.png, **options,
        )
    show(console, finding)
    console.print("\nFiles written:")
    for path in paths:
        console.print(f"  {path}", soft_wrap=True)


def show(console, finding):
    """Prints a `tf_lottery.analysis.findings.Finding`."""
    console.print(finding.title, style="bold")
    for columns in _that_fit(console.width, finding.heads, finding.cells):
        console.print(_table(
            [finding.heads[i] for i in columns],
            [[row[i] for i in columns] for row in finding.cells],
        ))
    if finding.compared:
        console.print(_table(
            ("what", "density %", "paper", "ours"),
            [
                (each["what"], f"{100 * each['density']:.1f}", each["paper"],
                 each["ours"])
                for each in finding.compared
            ],
            words=(0,),
        ))
        sources = dict.fromkeys(each["source"] for each in finding.compared)
        console.print(f"The paper: {', '.join(sources)}", soft_wrap=True)
    console.print(finding.summary)
    for note in finding.notes:
        console.print(f"- {note}")


def _that_fit(width, heads, cells):
    """Yields the columns of tables no wider than the console.

    Each begins with the round and its density; heads break between words.
    """
    padding = 3
    widths = [
        padding + _narrowest(head, [row[i] for row in cells])
        for i, head in enumerate(heads)
    ]
    columns, used = [0, 1], padding + sum(widths[:2])
    for i in range(2, len(heads)):
        if used + widths[i] > width and len(columns) > 2:
            yield columns
            columns, used = [0, 1], padding + sum(widths[:2])
        columns.append(i)
        used += widths[i]
    yield columns


def _narrowest(head, cells):
    return max(map(len, [*head.split(), *cells]))


def _table(heads, rows, words=()):
    table = rich.table.Table(box=rich.box.SIMPLE)
    for index, head in enumerate(heads):
        if index in words:
            table.add_column(head)
            continue
        least = _narrowest(head, [row[index] for row in rows])
        table.add_column(head, justify="right", min_width=least)
    for row in rows:
        table.add_row(*row)
    return table


class _Shown(session.Progress):
    """What it costs, a line for each training, and a bar on a terminal."""

    def __init__(self, console):
        self._console = console
        self._bar = bars.time_left(console)
        self._task, self._slow = None, False

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()

    def plan(self, plan):
        self._slow = plan.seconds > 1
        if plan.measured:
            self._console.print(f"measured earlier: {plan.measured} tickets")
        if plan.trainings:
            each = plan.steps // len(plan.trainings)
            self._console.print(
                f"to train: {len(plan.trainings)} networks of {each:,} steps, "
                f"at most {durations.render(plan.seconds)} by the pace of the "
                f"run; {plan.bytes / 1e6:.1f} MB are kept",
                soft_wrap=True,
            )
            self._task = self._bar.add_task("training", total=plan.epochs)
        elif self._slow:
            self._console.print(
                f"to measure: {len(plan.items)} tickets, about "
                f"{durations.render(plan.seconds)} by the pace of the run, and "
                "some seconds each to compile",
                soft_wrap=True,
            )

    def training_begin(self, training):
        self._console.print(f"training: {training}")

    def epoch_end(self):
        if self._task is not None:
            self._bar.advance(self._task)

    def measured(self, item):
        if self._slow:
            trial, number = item
            self._console.print(f"measured: trial {trial}, round {number}")


def _rounds(text):
    return _numbers(text, int, "3,7,9")


def _epsilons(text):
    return _numbers(text, _fraction, "0.1,0.2 or 8/255")


def _fraction(text):
    return float(fractions.Fraction(text))


def _numbers(text, read, example):
    try:
        return tuple(read(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no numbers; write {example}"
        ) from None


_OPTIONS = {
    "samples": (int, "N", "examples of each part of the data that are looked "
                "at (default: all; 10000 for connectivity, 1000 for "
                "robustness, 2000 for capacity)"),
    "epsilon": (_epsilons, "RADII", "radii of the attacks in units of the "
                "range of the pixels (default: 0.05,0.1,0.2 for gray images, "
                "2/255, 4/255 and 8/255 for colour)"),
    "points": (int, "N", "points on the line, ends included (default: 30)"),
    "epochs": (int, "N", "epochs on the random labels (default: 20)"),
    "seed": (int, "SEED", "seed of what is random in the analysis "
             "(default: 0)"),
    "budget": (str, "TIME", "time, such as 10m; rounds that do not fit are "
               "left out"),
}
