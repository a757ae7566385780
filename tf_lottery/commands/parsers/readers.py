"""The words of a command line as values."""

import argparse
import difflib
import fractions
import pathlib

from tf_lottery.commands import data as data_lib
from tf_lottery.commands.parsers import names as known
from tf_lottery.experiments import durations


def one_of(what, names):
    """Returns a function that reads one of some names, of `what`."""

    def read(text):
        if text not in names:
            raise argparse.ArgumentTypeError(unknown(what, text, names))
        return text

    return read


def unknown(what, text, names):
    """Returns the message about a name that there is not."""
    return (
        f"there is no {what} {text!r}.{did_you_mean(text, names)} "
        f"Expected one of: {', '.join(names)}"
    )


def did_you_mean(text, names):
    """Returns " Did you mean NAME?" with the nearest name, or `""`."""
    near = difflib.get_close_matches(text, names, 1)
    return f" Did you mean {near[0]}?" if near else ""


def rate(text):
    """Reads `0.2`, or a rate for each layer: `*=0.2,logits=0.1`."""
    return _by_name(text, _rate)


def shapes(text):
    """Reads a shape, `49x10`, or one for each input: `mel=49x10,mask=49`."""
    return _by_name(text, _shape)


def number(text):
    """Reads an integer or a float."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"{text!r} is not a number")


def point(text):
    """Reads a rewinding point: a number, or what a preset reads itself."""
    try:
        return number(text)
    except argparse.ArgumentTypeError:
        return text


def points(text):
    """Reads rewinding points: `0.5,0.75` or `20000it`."""
    return tuple(map(point, names(text)))


def names(text):
    """Reads names: `conv1,logits`."""
    return tuple(name for name in text.split(",") if name)


def integers(text):
    """Reads integers: `3,7,9`."""
    return _numbers(text, int, "3,7,9")


def radii(text):
    """Reads numbers and fractions: `0.1,0.2` or `8/255`."""
    return _numbers(text, fractions.Fraction, "0.1,0.2 or 8/255", float)


def budget(text):
    """Reads a budget, `flash=64KiB` or `macs=1e6`, as a dict."""
    name, _, size = text.partition("=")
    if not name or not size:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no budget; write flash=64KiB or macs=1e6"
        )
    try:
        return {name: float(size)}
    except ValueError:
        return {name: size}


def tunable(text):
    """Reads `rate=0.1:0.5` or `criterion=magnitude,lamp`."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in known.TUNABLE or not equals or not values:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(known.TUNABLE)} with values, "
            "such as rate=0.1:0.5 or criterion=magnitude,lamp"
        )
    if name == "pattern" or ":" not in values:
        read = {"criterion": str, "pattern": str, "rewind_to": point}
        read_one = read.get(name, number)
        return name, [read_one(part) for part in values.split(",")]
    return name, tuple(number(part) for part in values.split(":"))


def duration(text):
    """Reads a time, which stays text: `10m`."""
    return _checked(text, lambda text: durations.parse(text, "TIME"))


def data(text):
    """Reads where data are, see `commands.data`; it stays text."""
    return _checked(text, data_lib.kind)


def existing_file(text):
    """Reads the path of an existing file."""
    if not pathlib.Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file '{text}'")
    return text


def new_file(*suffixes):
    """Returns a function that reads the path of a file to write."""

    def read(text):
        path = pathlib.Path(text)
        if path.suffix not in suffixes or not path.parent.is_dir():
            raise argparse.ArgumentTypeError(
                f"'{text}' cannot be written. Expected: a file of an existing "
                f"directory, ending in {' or '.join(suffixes)}"
            )
        return text

    return read


def _by_name(text, read):
    if "=" not in text:
        return read(text)
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() in found:
            raise argparse.ArgumentTypeError(
                f"{text!r} says {name.strip()!r} twice"
            )
        found[name.strip()] = read(value)
    return found


def _checked(text, check):
    try:
        check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _shape(text):
    return _numbers(text.replace("x", ","), int, "49x10")


def _numbers(text, read, example, kind=int):
    try:
        return tuple(kind(read(part)) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no numbers; write {example}"
        ) from None


def _rate(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number; write 0.2 or '*=0.2,logits=0.1'"
        ) from None
