"""A card that says in words what a training was, for the Text dashboard."""

import numbers

from tf_lottery import optimizers
from tf_lottery.runs import ticket as ticket_lib

# What says how long to go on, or what to call things, but not what a round
# is.
_NO_HPARAMS = (
    "rounds", "target_density", "tolerance", "monitor", "mode", "data",
)


def hparams_of(protocol):
    """Returns the arguments of a protocol that make a training what it is."""
    return {
        name: value if isinstance(value, numbers.Real) else _words(value)
        for name, value in protocol.items()
        if name not in _NO_HPARAMS and not _is_empty(value)
    }


def protocol_card(model, pruner, protocol):
    """Returns Markdown: how a model is pruned, and with which versions."""
    optimizer = optimizers.innermost(model.optimizer)
    rows = [
        ("model", f"{model.name}, {model.count_params():,} parameters"),
        ("optimizer", type(optimizer).__name__),
        (
            "pruned by", "masks held from before, if any" if pruner is None
            else type(pruner).__name__,
        ),
        *((k, _words(v)) for k, v in protocol.items() if not _is_empty(v)),
        *ticket_lib.versions().items(),
    ]
    return table(rows[0], rows[1:])


def rounds_card(results, monitor):
    """Returns Markdown: what each round came to."""
    return table(
        (
            "round", "density", "effective", monitor.name, "steps",
            "best val_loss at", "seconds",
        ),
        [
            (
                str(result.round),
                f"{result.density:.2%}",
                _percent(result.effective_density),
                f"{result.metrics[monitor.name]:.4f}",
                f"{result.steps:,}",
                _count(result.early_stop_step),
                f"{result.seconds:.1f}",
            )
            for result in results
        ],
    )


def layers_card(reading):
    """Returns Markdown: what is kept of each weight."""
    found = reading.densities()
    return table(
        ("weight", "shape", "kept", "density", "effective"),
        [
            (
                key,
                "×".join(map(str, mask.shape)),
                f"{mask.sum():,} of {mask.size:,}",
                _percent(found[f"density/{key}"]),
                _percent(found.get(f"effective_density/{key}")),
            )
            for key, mask in reading.masks.items()
        ],
    )


def table(head, rows):
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _is_empty(value):
    return value is None or (
        isinstance(value, (str, list, tuple, dict)) and not value
    )


def _words(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(v)}" for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value))
    return str(value)


def _percent(fraction):
    return "n/a" if fraction is None else f"{fraction:.2%}"


def _count(number):
    return "n/a" if number is None else f"{number:,}"
