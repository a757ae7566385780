"""The tests, in folders that mirror the package."""

import pathlib

# Of the repository.
ROOT = pathlib.Path(__file__).parent.parent
