"""Tables for a terminal whose numbers are never cut."""

import copy
import dataclasses
import io

import rich.box
import rich.console
import rich.measure
import rich.table

# A longer word of text is broken where there is no room for it.
_LEAST_TEXT = 16


class Table(rich.table.Table):
    """A `rich.table.Table` that goes on below where it is too wide.

    Text folds, and heads break between words. Columns without room even then
    stand in another table below, next to the `keys` first columns once more.
    Columns of `numbers`, aligned to the right, never break.

    >>> table = Table(numbers=("round", "accuracy", "loss"), box=None)
    >>> table.add_row("1", "97.09", "0.1234")
    >>> import rich.console
    >>> console = rich.console.Console(width=17)
    >>> with console.capture() as captured:
    ...     console.print(table)
    >>> [line.split() for line in captured.get().splitlines()]
    [['round', 'accuracy'], ['1', '97.09'], ['round', 'loss'], ['1', '0.1234']]
    """

    def __init__(
        self, *words, numbers=(), keys=1, box=rich.box.SIMPLE, **kwargs
    ):
        super().__init__(*words, box=box, **kwargs)
        for name in numbers:
            self.add_column(name, justify="right")
        self._keys = keys

    def __rich_console__(self, console, options):
        sizes = [_sizes(console, options, column) for column in self.columns]
        parts = list(self._parts(sizes, options.max_width))
        for part in parts:
            widths = _spread(
                [sizes[i] for i in part],
                options.max_width - self._besides(len(part)),
            )
            table = self._part(part, widths)
            table.title = self.title if part is parts[0] else None
            table.caption = self.caption if part is parts[-1] else None
            yield from super(Table, table).__rich_console__(console, options)

    def _parts(self, sizes, room):
        """Yields the columns of each part, as lists of indices."""
        keys = list(range(min(self._keys, len(sizes))))
        part = list(keys)
        for index in range(len(keys), len(sizes)):
            least = sum(sizes[i].minimum for i in [*part, index])
            if len(part) > len(keys) and (
                least + self._besides(len(part) + 1) > room
            ):
                yield part
                part = list(keys)
            part.append(index)
        yield part

    def _part(self, part, widths):
        table = copy.copy(self)
        table.columns = [
            dataclasses.replace(
                self.columns[index], _index=position, width=width,
                no_wrap=False, overflow="fold",
            )
            for position, (index, width) in enumerate(zip(part, widths))
        ]
        return table

    def _besides(self, columns):
        """Returns the characters of a line that are no cells."""
        _, right, _, left = self.padding
        found = columns * (left + right)
        if not self.pad_edge:
            found -= left + right
        if self.box:
            found += columns - 1 + 2 * self.show_edge
        return found


def text(*found, width=100):
    """Returns what a console of some width shows, as a string."""
    file = io.StringIO()
    rich.console.Console(file=file, width=width).print(*found, sep="\n")
    return file.getvalue()


def _sizes(console, options, column):
    """Returns the least and the greatest width of a column's cells."""
    def measure(text):
        # Not cut to the width of the console.
        return rich.measure.Measurement.get(
            console, options.update(width=10_000), text
        )

    head, cells = measure(column.header), [*map(measure, column.cells)]
    most = max(size.maximum for size in [head, *cells])
    if column.justify == "right":
        numbers = [size.maximum for size in cells]
        return rich.measure.Measurement(max([head.minimum, *numbers]), most)
    least = max(size.minimum for size in [head, *cells])
    return rich.measure.Measurement(min(least, _LEAST_TEXT), most)


def _spread(sizes, room):
    """Returns a width for each column: what it would have, or has to have.

    The widest above its least gives first.
    """
    widths = [size.maximum for size in sizes]
    while sum(widths) > room:
        slack = [
            (width > size.minimum) * width
            for width, size in zip(widths, sizes)
        ]
        if not any(slack):
            break
        widths[slack.index(max(slack))] -= 1
    return widths
