"""The reference: a page for each public module, filled from docstrings."""

import inspect

from tests import public_names

FOLDER = "docs/api"


def paths():
    """Returns a dict from the name of a module to the path of its page."""
    return {
        space: f"{FOLDER}/{space}.md" for space in public_names.by_space()
    }


def pages():
    """Returns a dict from path to Markdown, for mkdocstrings."""
    homes, found = {}, {}
    for space, names in public_names.by_space().items():
        module = public_names.SPACES[space]
        parts = [f"# {space}", inspect.getdoc(module)]
        for name in names:
            value = getattr(module, name)
            path = f"{value.__module__}.{value.__qualname__}"
            home = homes.setdefault(path, f"{space}.{name}")
            parts.append(_entry(f"{space}.{name}", path, home))
        found[f"{FOLDER}/{space}.md"] = "\n\n".join(parts) + "\n"
    return found


def _entry(name, path, home):
    """What is public in several places is documented in the first."""
    if name != home:
        return f"## {name}\n\nThe same as [{home}][{path}]."
    return f"::: {path}\n    options:\n      heading: {name}"
