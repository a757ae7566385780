"""Docstrings as the site shows them.

Those of the package name shared paragraphs, which are filled in when it is
imported, and have Keras' form: examples stand below the word "Example:".
"""

import re

import griffe

from tests import public_names
from tf_lottery.utils import docs

EXAMPLE = re.compile(r"^(?:>>> .*\n?)(?:.*\S.*\n?)*", re.MULTILINE)
NAME = re.compile(r"`(tf_lottery\.[\w.]+)`")
HOMES = {
    name.replace("tfl", "tf_lottery", 1):
    f"{value.__module__}.{value.__qualname__}"
    for name, value in public_names.public().items()
}


class KerasDocstrings(griffe.Extension):
    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = shown(obj.docstring.value)


def shown(text):
    """Returns a docstring as Markdown, with links and blocks of code."""
    text = re.sub(r"^Examples?:$", "**Example**", docs.fill(text), flags=re.M)
    text = NAME.sub(_link, text)
    return EXAMPLE.sub(
        lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text
    )


def _link(found):
    home = HOMES.get(found[1])
    return f"[{found[0]}][{home}]" if home else found[0]
