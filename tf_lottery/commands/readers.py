"""What the words of a command line mean."""

import argparse


def rate(text):
    """Reads `0.2`, or a rate for each layer: `*=0.2,logits=0.1`.

    Raises:
        argparse.ArgumentTypeError: If it is neither.
    """
    if "=" not in text:
        return _rate(text)
    parts = [part.partition("=") for part in text.split(",")]
    return {layer.strip(): _rate(value) for layer, _, value in parts}


def number(text):
    """Reads an integer or a float.

    Raises:
        argparse.ArgumentTypeError: If it is neither.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"{text!r} is not a number")


def _rate(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number; write 0.2 or '*=0.2,logits=0.1'"
        ) from None
