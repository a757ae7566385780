"""`tf-lottery prune`: prune a saved model."""

import rich.console

import tf_lottery
from tf_lottery import collapse
from tf_lottery import criteria
from tf_lottery import distributions
from tf_lottery import experiments
from tf_lottery import files
from tf_lottery.commands import models
from tf_lottery.commands import readers

# A saved model has no earlier weights.
_NAMES = sorted(
    criterion.name for criterion in criteria.ALL_CRITERIA
    if not criterion.needs_snapshot
)


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "prune",
        help="prune a saved model",
        description="Prunes a saved model once. The file written holds the "
        "masks: trained further, its pruned weights stay zero.",
    )
    parser.add_argument("model", metavar="MODEL", help="a .keras file")
    parser.add_argument(
        "--sparsity",
        type=readers.rate,
        required=True,
        metavar="FRACTION",
        help="fraction of the weights to remove, such as 0.9, or by layer: "
        "'*=0.9,logits=0.5'",
    )
    parser.add_argument(
        "--criterion",
        choices=_NAMES,
        default="magnitude",
        metavar="NAME",
        help=f"one of {', '.join(_NAMES)} (default: magnitude)",
    )
    parser.add_argument(
        "--scope",
        choices=distributions.SCOPES,
        default="global",
        metavar="SCOPE",
        help="how the sparsity is shared over layers: "
        f"{', '.join(distributions.SCOPES)} (default: global)",
    )
    parser.add_argument(
        "--pattern",
        default="unstructured",
        metavar="PATTERN",
        help="unstructured, block:1x4, 2:4 or channel "
        "(default: unstructured)",
    )
    parser.add_argument(
        "--iterations",
        type=int,
        metavar="N",
        help="steps in which the sparsity is reached (default: 100 for "
        "synflow, 1 otherwise)",
    )
    parser.add_argument(
        "--collapse",
        choices=collapse.POLICIES,
        default="error",
        metavar="WHAT",
        help="what to do where a layer would lose everything: "
        f"{', '.join(collapse.POLICIES)} (default: error)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="LAYER",
        help="a layer to leave alone, by name or pattern; @first and @last "
        "mean the first and the last; may be repeated",
    )
    parser.add_argument(
        "--data",
        choices=sorted(experiments.LOADERS),
        metavar="NAME",
        help="data set for criteria that look at data: "
        f"{', '.join(sorted(experiments.LOADERS))}",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="how many samples of the data to look at (default: 1000)",
    )
    parser.add_argument(
        "--strip",
        action="store_true",
        help="write a plain Keras model, zeros baked in, masks gone",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the .keras file to write (default: MODEL.pruned.keras)",
    )
    parser.set_defaults(command=_prune)


def _prune(arguments):
    out = models.output_path(arguments.model, arguments.out, ".pruned.keras")
    model = models.can_hold(models.load(arguments.model))
    tf_lottery.prune(
        model,
        sparsity=arguments.sparsity,
        criterion=arguments.criterion,
        scope=arguments.scope,
        pattern=arguments.pattern,
        data=_data(arguments),
        loss=None if model.compiled else "sparse_categorical_crossentropy",
        iterations=arguments.iterations,
        collapse=arguments.collapse,
        exclude=arguments.exclude,
    )
    console = rich.console.Console(highlight=False)
    console.print(tf_lottery.summary(model).render())
    files.save_model(tf_lottery.strip(model) if arguments.strip else model, out)
    console.print(f"written: {out}", soft_wrap=True)


def _data(arguments):
    if arguments.data is None:
        return None
    data = experiments.load(arguments.data)
    return data.x_train[:arguments.samples], data.y_train[:arguments.samples]
