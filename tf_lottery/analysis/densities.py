"""Per-layer density: where tickets keep their weights."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import overload

import keras
import numpy as np

from tf_lottery import masks as masks_lib
from tf_lottery.analysis import sources
from tf_lottery.runs import ticket as ticket_lib


@overload
def layer_densities(
    tickets: ticket_lib.Ticket | Mapping[str, np.ndarray],
) -> dict[str, float]: ...


@overload
def layer_densities(
    tickets: Sequence[sources.Masks],
) -> list[dict[str, float]]: ...


@overload
def layer_densities(
    tickets: Mapping[str, sources.Masks],
) -> dict[str, dict[str, float]]: ...


@overload
def layer_densities(tickets: keras.Model) -> dict[str, float]: ...


def layer_densities(tickets: Any) -> Any:
    """Returns the fraction of weights that is kept, for each layer.

    Reference: where global pruning leaves weights is looked at in Frankle
    and Carbin 2019, section 4, https://arxiv.org/abs/1803.03635.

    Args:
        tickets: A ticket, a list of tickets, or a dict from name to ticket,
            where each may be a dict of masks, or a model that holds masks.

    Returns:
        Dict from weight key to float; a list or dict of these for a list or
        dict of tickets.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a mask is not boolean.

    Example:

    >>> import numpy as np
    >>> layer_densities({"fc/kernel": np.array([True, False])})
    {'fc/kernel': 0.5}
    """
    if isinstance(tickets, (list, tuple)):
        return [layer_densities(ticket) for ticket in tickets]
    if isinstance(tickets, Mapping) and not all(
        hasattr(value, "dtype") for value in tickets.values()
    ):
        return {name: layer_densities(each) for name, each in tickets.items()}
    return masks_lib.densities(sources.masks(tickets, "tickets"))
