"""The pages of the site, with the paths that they have in the repository.

So a link is good in both, and results are shown from where the examples wrote
them.
"""

import pathlib

from mkdocs import plugins
from mkdocs.structure import files as structure

from docs.mkdocs import reference

ROOT = pathlib.Path(__file__).parents[2]
SHOWN = {
    "docs": {".md", ".ipynb", ".png", ".css"},
    "examples": {".md", ".png", ".csv", ".py"},
}
TOP = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE",
    "CITATION.cff",
)


def on_config(config):
    """Puts the pages of the reference where `nav` has their folder."""
    for section in config.nav:
        for entries in section.values():
            if reference.FOLDER in entries and isinstance(entries, list):
                entries[:] = [
                    {name: path} for name, path in reference.paths().items()
                ]
    return config


# Before mkdocs-jupyter looks for notebooks.
@plugins.event_priority(100)
def on_files(files, config):
    """Replaces the files of `docs` by those of the repository."""
    paths = [ROOT / name for name in TOP] + [
        path for folder, endings in SHOWN.items()
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in endings
    ]
    found = [
        structure.File(
            path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir,
            config.use_directory_urls,
        )
        for path in paths
    ]
    found += [
        structure.File.generated(config, path, content=text)
        for path, text in reference.pages().items()
    ]
    others = [file for file in files if file.src_dir != config.docs_dir]
    return structure.Files([*others, *found])
