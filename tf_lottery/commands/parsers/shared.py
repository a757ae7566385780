"""Arguments that several commands take, each declared once."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers

_DATA = (
    f"data {{}}: one of {', '.join(names.DATASETS)}; a .npz file with x and "
    "y, or x_train, y_train, x_test and y_test; a directory of images, one "
    "below it for each class, or of a tf.data.Dataset that was saved; or "
    "module:function that returns (x, y), ((x, y), (x_test, y_test)) or a "
    "dataset of batches"
)


def add_model(parser, what="a .keras file"):
    """Adds the positional MODEL."""
    parser.add_argument("model", metavar="MODEL", help=what)


def add_name(parser, flag, what, known, default=None, help=None):
    """Adds a flag that takes one of some names.

    Args:
        parser: `Parser`.
        flag: String, such as `"--scope"`.
        what: String, what is named.
        known: Sequence of strings.
        default: String, or `None`.
        help: String that comes before the names. Defaults to `what`.
    """
    parser.add_argument(
        flag, type=readers.one_of(what, known), default=default,
        metavar=flag.strip("-").split("-")[-1].upper(),
        help=f"{help or what}: {', '.join(known)}",
    )


def add_data(parser, purpose, flag="--data"):
    """Adds `--data`, for a purpose such as `"to measure accuracy on"`."""
    parser.add_argument(
        flag, type=readers.data, metavar="DATA",
        help=_DATA.format(purpose),
    )


def add_exclude(parser, help="layers to leave alone, by name or pattern"):
    """Adds `--exclude`."""
    parser.add_argument(
        "--exclude", action="extend", type=readers.names, metavar="LAYERS",
        help=f"{help}: 'conv1,logits'; may be repeated",
    )


def add_output(parser, what, default):
    """Adds `--output`, the file to write."""
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help=f"{what} to write (default: {default})",
    )


def add_output_dir(parser, default, more=""):
    """Adds `--output-dir`, the directory for the results."""
    parser.add_argument(
        "--output-dir", metavar="DIR",
        help=f"directory for the results{more} (default: {default})",
    )


def add_overwrite(parser, what):
    """Adds `--overwrite`."""
    parser.add_argument(
        "--overwrite", action="store_true",
        help=f"replace an existing {what}",
    )


def add_png(parser):
    """Adds `--png`."""
    parser.add_argument(
        "--png", action="store_true",
        help="write the charts as PNG files, too (needs tf_lottery[plot])",
    )


def add_jobs(parser):
    """Adds `--jobs`, `--scheduler` and `--threads`."""
    parser.add_argument(
        "--jobs", type=int, metavar="N",
        help="processes that train side by side, each with a core of its own "
        "(default: 1, or all workers of --scheduler); the results are the "
        "same",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="a Dask scheduler whose workers train, such as tcp://host:8786; "
        "they share the directory (needs tf_lottery[dask])",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N",
        help="threads that compute an operation (default: one for each "
        "core); with another number, sums are rounded in another way",
    )
