"""Docstrings as the site shows them.

Those of the package name shared paragraphs, which are filled in when it is
imported, and have Keras' form: examples stand below the word "Example:".
"""

import re

import griffe

from tf_lottery.utils import docs

EXAMPLE = re.compile(r"^(?:>>> .*\n?)(?:.*\S.*\n?)*", re.MULTILINE)


class KerasDocstrings(griffe.Extension):
    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = _shown(obj.docstring.value)


def _shown(text):
    text = re.sub(r"^Examples?:$", "**Example**", docs.fill(text), flags=re.M)
    return EXAMPLE.sub(
        lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text
    )
