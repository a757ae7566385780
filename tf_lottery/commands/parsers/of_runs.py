"""Commands on runs of presets: what they are and do, and their arguments."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import tables
from tf_lottery.commands.parsers.analyze import DESCRIPTION
from tf_lottery.experiments import catalogue

# What of a preset a search has no use for: it trains tickets alone.
UNUSED = {
    "trials", "compare", "control_trials", "control_every", "also_rewind_to",
    "budget", "save_freq", "test_densities", "margin",
}
_RUN = {
    "--protocol PROTOCOL [full]": (
        "'cheap': tickets as sparse in about a quarter of the steps, by fewer "
        "and shorter rounds",
        readers.one_of("protocol", tuple(catalogue.PROTOCOLS)),
    ),
    **tables.output_dir(
        "runs/PRESET",
        "; a run of the preset that was interrupted there resumes",
    ),
    "--overwrite": "replace an existing run of the preset",
    **tables.JOBS,
    "--dry-run": "measure for a few seconds, show the trainings and the time "
    "they would take, write nothing",
}
_SWEEP = {
    "--trials N [20]": "at most so many trials",
    "--tuner TUNER [random]": ("", names.TUNERS),
    "--objective NAME [density]": "'density', the smallest of a candidate "
    "ticket; 'accuracy@0.1', at that density; 'bytes@0.97' or 'latency@0.97', "
    "of the exported file with that accuracy",
    "--tune NAME=VALUES *": f"what to tune, of {', '.join(names.TUNABLE)}: "
    "values as 'rate=0.1:0.5' or 'criterion=magnitude,lamp'; may be repeated "
    "(default: rate, rewinding point and learning rate, except those that a "
    "flag fixes)",
    "--hyperband-budget BUDGET [rounds]": (
        "what hyperband gives good trials more of", ("rounds", "epochs")
    ),
    **tables.output_dir(
        "runs/PRESET-sweep", "; the same search there resumes"
    ),
    "--overwrite": "replace an existing search",
    "--chief-timeout SECONDS [60]": "how long a worker waits for the chief; "
    "the chief waits ten times as long for workers",
    "--worker-timeout SECONDS [60]": "after how long a silent worker is taken "
    "as dead, and its trial given to another",
}
_WRITTEN = "directory that `tf-lottery run` or a pruning callback wrote to"
COMMANDS = {
    "run": (
        "find lottery tickets by the protocol of a preset",
        "Finds lottery tickets by the protocol of a preset and measures them "
        "against random controls.",
        _RUN,
    ),
    "sweep": (
        "search for the best way to prune a preset's network",
        "Searches with keras-tuner. With KERASTUNER_TUNER_ID, "
        "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set, and a directory "
        "that all machines share, it is the chief or a worker of a search on "
        "several machines.",
        _SWEEP,
    ),
    "list": ("list the presets", "Lists the presets.", {}),
    "report": (
        "write a run as one self-contained HTML page",
        "Writes one HTML page with the protocol, the curves and all numbers "
        "of a run, the paper's numbers next to them where there are some, and "
        "what speaks against them. It may be unfinished.",
        {
            "directory DIR": f"the {_WRITTEN}",
            **tables.PNG,
            **tables.output("the page", "DIR/report.html"),
        },
    ),
    "compare": (
        "write several runs as one interactive HTML page",
        "Writes one HTML page with runs next to one another: accuracy against "
        "density, learning curves, verdicts, and in what the runs differ. "
        "They may be unfinished; a run that is named twice, or was copied, "
        "counts once.",
        {
            "directories DIR ...": f"a {_WRITTEN}",
            **tables.PNG,
            **tables.output("the page", "compare.html"),
        },
    ),
    "analyze": (
        "measure stability, connectivity and more on a run", DESCRIPTION, {}
    ),
}
# Their values are arguments as well; but not these.
OF_PRESETS = {"run": (), "sweep": UNUSED}
