"""Tables of arguments: what one writes, and what it is for.

A key has the flags, what they take in capitals, then `[default]`, `!` where
it must be given, `...` for several values, `*` where it may be repeated:
`"-o --output FILE"`, `"--samples N [1000]"`. A flag that takes nothing is a
switch, a name without dashes stands by itself, and before a flag it is where
its value is kept. A value is the help, or a pair: the help, and the names to
choose from or the function that reads one. A table in a table has flags of
which one may be given.
"""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers

# What reads what is written in capitals. Others stay text.
_READERS = {
    "N": int, "SEED": int, "NUMBER": float, "SECONDS": float,
    "FRACTION": readers.rate, "DATA": readers.data, "LAYERS": readers.names,
    "SHAPE": readers.shapes, "ROUNDS": readers.integers,
    "RADII": readers.radii, "TIME": readers.duration,
    "NAME=SIZE": readers.budget, "NAME=VALUES": readers.tunable,
}
# What names are of, where that is not the word in capitals.
_KINDS = {
    "COLLAPSE": "choice", "QUANTIZE": "type", "DTYPE": "type",
    "ACCELERATOR": "configuration",
}
_MARKS = {
    "!": {"required": True}, "...": {"nargs": "+"}, "*": {"action": "append"},
}


def add(parser, table):
    """Adds the arguments of a table to a parser."""
    for spec, about in table.items():
        if isinstance(about, dict):
            group = parser.add_mutually_exclusive_group(required="!" in spec)
            add(group, about)
        else:
            help, read = about if isinstance(about, tuple) else (about, None)
            _add(parser, spec.split(), help, read)


def _add(parser, words, help, read):
    flags = [word for word in words if word.startswith("-")]
    words = [word for word in words if word not in flags]
    if not words:
        parser.add_argument(*flags, help=help, action="store_true")
        return
    kept = {"dest": words.pop(0)} if words[0].islower() else {}
    metavar, *marks = words
    if isinstance(read, tuple):
        what = _KINDS.get(metavar, metavar.lower())
        help = f"{help or what}: {', '.join(read)}"
        read = readers.one_of(what, read)
    for mark in marks:
        kept |= _MARKS.get(mark) or {"default": mark.strip("[]")}
    if metavar == "LAYERS":
        kept["action"] = "extend"
    read = read or _READERS.get(metavar)
    parser.add_argument(*flags, metavar=metavar, type=read, help=help, **kept)


def data(purpose):
    """Returns the help of a flag for data."""
    return (
        f"data {purpose}: one of {', '.join(names.DATASETS)}; a .npz file "
        "with x and y, or x_train, y_train, x_test and y_test; a directory of "
        "images, one below it for each class, or of a tf.data.Dataset that "
        "was saved; or module:function that returns (x, y), ((x, y), (x_test, "
        "y_test)) or a dataset of batches"
    )


def exclude(help="layers to leave alone, by name or pattern"):
    """Returns the row of `--exclude`."""
    help = f"{help}: 'conv1,logits'; may be repeated"
    return {"--exclude LAYERS": help}


def output(what, default):
    """Returns the row of `--output`, the file to write."""
    return {"-o --output FILE": f"{what} to write (default: {default})"}


def output_dir(default, more=""):
    """Returns the row of `--output-dir`."""
    help = f"directory for the results{more} (default: {default})"
    return {"--output-dir DIR": help}


CRITERION = {"--criterion CRITERION [magnitude]": ("", names.CRITERIA)}
METRIC = {"--metric NAME": "a Keras metric in place of the accuracy"}
PNG = {
    "--png": "write the charts as PNG files, too (needs tf_lottery[plot])",
}
JOBS = {
    "--jobs N": "processes that train side by side, each with a core of its "
    "own (default: 1, or all workers of --scheduler); the results are the "
    "same",
    "--scheduler ADDRESS": "a Dask scheduler whose workers train, such as "
    "tcp://host:8786; they share the directory (needs tf_lottery[dask])",
    "--threads N": "threads that compute an operation (default: one for each "
    "core); with another number, sums are rounded in another way",
}
