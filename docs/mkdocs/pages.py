"""The pages of the site: those of the repository, and one for each room.

Files keep the paths that they have in the repository, so that a link is good
in both. The reference has a page for each public module, which mkdocstrings
fills from the docstrings.
"""

import inspect
import pathlib

from mkdocs import plugins
from mkdocs.structure import files as structure

from tests import public_names

ROOT = pathlib.Path(__file__).parents[2]
REFERENCE = "docs/api"
SHOWN = {
    "docs": {".md", ".ipynb", ".png", ".css"},
    "examples": {".md", ".png", ".csv", ".py"},
}
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md",
       "LICENSE",
       "CITATION.cff")


def on_config(config):
    """Puts the pages of the reference where `nav` has their folder."""
    for section in config.nav:
        for title, entries in _sections(section):
            if REFERENCE in entries:
                at = entries.index(REFERENCE)
                entries[at:at + 1] = [
                    {name: path} for name, path in _reference_paths().items()
                ]
    return config


# Before mkdocs-jupyter looks for notebooks.
@plugins.event_priority(100)
def on_files(files, config):
    paths = [ROOT / name for name in TOP]
    for folder in SHOWN:
        paths += sorted(
            path for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix in SHOWN[folder]
            and "__pycache__" not in path.parts
        )
    found = [
        structure.File(
            path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir,
            config.use_directory_urls,
        )
        for path in paths
    ]
    found += [
        structure.File.generated(config, path, content=text)
        for path, text in _pages()
    ]
    themes = [
        file for file in files if pathlib.Path(file.src_dir or "") !=
        pathlib.Path(config.docs_dir)
    ]
    return structure.Files([*themes, *found])


def _sections(section):
    if isinstance(section, dict):
        for title, entries in section.items():
            if isinstance(entries, list):
                yield title, entries


def _reference_paths():
    return {
        name: f"{REFERENCE}/{name}.md" for name in public_names.by_space()
    }


def _pages():
    """Path and Markdown of each page of the reference."""
    homes = {}
    for space, names in public_names.by_space().items():
        module = public_names.SPACES[space]
        parts = [f"# {space}", inspect.getdoc(module)]
        for name in names:
            value = getattr(module, name)
            path = f"{value.__module__}.{value.__qualname__}"
            home = homes.setdefault(path, f"{space}.{name}")
            parts.append(_entry(f"{space}.{name}", path, home))
        yield f"{REFERENCE}/{space}.md", "\n\n".join(parts) + "\n"


def _entry(name, path, home):
    """What is public in several places is documented in the first."""
    if name != home:
        return f"## {name}\n\nThe same as [{home}][{path}]."
    return f"::: {path}\n    options:\n      heading: {name}"
