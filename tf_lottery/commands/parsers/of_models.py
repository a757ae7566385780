"""Commands on saved models: what they are, what they do, their arguments."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import tables

_MODEL = {"model MODEL": "a .keras file"}
_PRUNE = {
    **_MODEL,
    "--sparsity FRACTION !": "fraction of the weights to remove, such as 0.9, "
    "or by layer: '*=0.9,logits=0.5'",
    **tables.CRITERION,
    "--scope SCOPE [global]": (
        "how the sparsity is shared over layers", names.SCOPES
    ),
    "--pattern PATTERN [unstructured]": "unstructured, block:1x4, 2:4 or "
    "channel",
    "--iterations N": "steps in which the sparsity is reached (default: 100 "
    "for synflow, 1 otherwise)",
    "--collapse COLLAPSE [error]": (
        "what to do where a layer would lose everything", names.COLLAPSE
    ),
    **tables.exclude(
        "layers to leave alone, by name or pattern, @first and @last"
    ),
    "--data DATA": tables.data("for criteria that look at data"),
    "--samples N [1000]": "how many samples of the data to look at",
    "--strip": "write a plain Keras model, zeros baked in, masks gone",
    **tables.output("the .keras file", "MODEL.pruned.keras"),
}
_SHRINK = {
    **_MODEL,
    "one of !": {
        "--ratio NUMBER": "fraction of the units to remove",
        "--params NUMBER": "parameters at most; up to 1, a fraction of the "
        "model's",
        "--macs NUMBER": "multiply-accumulates of one sample at most, or a "
        "fraction",
        "--bytes NUMBER": "bytes of the weights at most, or a fraction",
        "--latency-ms NUMBER": "milliseconds for one sample at most, measured "
        "here",
        "--plan FILE": (
            "carry out a plan written before", readers.existing_file
        ),
        "--compact": "remove what the masks (or zeros) have made dead: loses "
        "nothing",
    },
    **tables.CRITERION,
    "--norm NORM": (
        "what the scores of a unit's weights come to (default: l2 for "
        "magnitude, l1 otherwise)", names.NORMS,
    ),
    "--scope SCOPE [layer]": (
        "all units ranked together, from every layer alike, those of like "
        "blocks together, or as a search on the data finds best",
        names.UNIT_SCOPES,
    ),
    "--round-to N [1]": "keep multiples of N units",
    **tables.exclude("layers whose units stay, by name or pattern"),
    "--data DATA": tables.data("for criteria and scopes that look at data"),
    "--recalibrate DATA": tables.data(
        "to estimate the statistics of batch normalisation anew, in the small "
        "model"
    ),
    "--save-plan FILE": (
        "write the plan as JSON, for another checkpoint of the model",
        readers.new_file(".json"),
    ),
    "--report": "print every group, and what is frozen and why",
    "--dry-run": "plan and report, but write no model",
    **tables.output("the .keras file", "MODEL.small.keras"),
}
_COMPRESS = {
    **_MODEL,
    "--data DATA": tables.data("to calibrate on, and to choose on"),
    "--target TARGET [size]": (
        "", ("macs", *names.TARGETS, *names.ACCELERATORS)
    ),
    "one of": {
        "--max-drop NUMBER": "by how much the metric may be worse (default: "
        "0.01)",
        "--budget NAME=SIZE": "what counts for the target and the most it may "
        "be: size=20kB, flash=64KiB, macs=1e6, cycles=1e5 or latency_ms=2",
    },
    "--minimize NAME": (
        "what counts for an Ethos-U (default: that of the budget, or flash)",
        ("flash", "cycles", "latency_ms"),
    ),
    "--quantize QUANTIZE [int8]": (
        "type of the weights of the file", names.QUANTIZE[:-1]
    ),
    **tables.METRIC,
    "--epochs N [0]": "epochs of training after pruning, after the model",
    "--samples N [1024]": "training examples to calibrate on",
    "--candidates N [8]": "files to try",
    **tables.exclude(),
    **tables.output_dir(
        "MODEL.compressed", "; what was interrupted resumes there"
    ),
    "--report FILE": ("write a page there", readers.new_file(".html")),
}
_EXPORT = {
    "model MODEL": "a .keras file, or a .tflite file",
    "--target TARGET [auto]": ("", names.TARGETS),
    "--quantize QUANTIZE": (
        "type of the weights; auto tries all (default: float32; int8 for an "
        "Ethos-U)", names.QUANTIZE,
    ),
    "--accelerator ACCELERATOR": (
        "configuration of the Ethos-U that Vela compiles for",
        names.ACCELERATORS,
    ),
    "--system-config SECTION": "section of Vela's configuration: clock and "
    "memories",
    "--memory-mode SECTION": "section of Vela's configuration: what lies in "
    "which memory",
    "--input-shapes SHAPE": "shapes without the batch where the model leaves "
    "a size open: 49x10, or by input mel=49x10,mask=49",
    "--input-dtype DTYPE": (
        "type of the inputs of int8 files", names.DTYPES
    ),
    "--output-dtype DTYPE": (
        "type of the outputs of int8 files", names.DTYPES
    ),
    "--float-layers LAYER ...": "layers that int8 files compute in float32",
    "--encoding ENCODING [auto]": (
        "dense stores zeros as they are, for other tools to read",
        names.ENCODINGS,
    ),
    "--runtimes NAME ...": (
        f"where every file must be right: {', '.join(names.RUNTIMES)}",
        readers.one_of("runtime", names.RUNTIMES),
    ),
    **tables.METRIC,
    "--data DATA": tables.data("to measure accuracy on, and to quantise with"),
    "--compare FILE *": (
        "a .tflite file to time next to it; may be repeated",
        readers.existing_file,
    ),
    "--explicit-padding": "rewrite the padding that keeps XNNPACK from "
    "running sparse",
    "--report FILE": (
        "write the report there, as .html or .json",
        readers.new_file(".html", ".json"),
    ),
    **tables.output("the .tflite file", "MODEL.tflite"),
}
COMMANDS = {
    "prune": (
        "prune a saved model",
        "Prunes a saved model once. The file written holds the masks: trained "
        "further, its pruned weights stay zero.",
        _PRUNE,
    ),
    "shrink": (
        "remove channels or dead units from a saved model",
        "Removes whole channels, units and heads from a saved model and "
        "writes the small one, proved to compute what the big one does "
        "without them.",
        _SHRINK,
    ),
    "compress": (
        "make the smallest checked file within a loss of accuracy",
        "Removes channels and weights from a saved model, and writes the "
        "smallest TFLite file found that loses no more than a given amount on "
        "the validation part of the data, and its model.",
        _COMPRESS,
    ),
    "export": (
        "write a saved model as a checked TFLite file",
        "Converts a saved model to the TFLite file that suits a target, runs "
        "and compares it in every runtime installed, and shows what it chose "
        "from. A .tflite file is inspected, and compared.",
        _EXPORT,
    ),
}
