"""Files that are either whole or not there, arrays in them, and locks."""

from tf_lottery.files.arrays import read_arrays
from tf_lottery.files.arrays import write_arrays
from tf_lottery.files.writing import DamagedFileError
from tf_lottery.files.writing import damaged
from tf_lottery.files.writing import intact
from tf_lottery.files.writing import read_json
from tf_lottery.files.writing import replacing
from tf_lottery.files.writing import save_model
from tf_lottery.files.writing import write_atomic
from tf_lottery.files.writing import write_json
from tf_lottery.files.writing import write_text

__all__ = [
    "DamagedFileError",
    "damaged",
    "intact",
    "read_arrays",
    "read_json",
    "replacing",
    "save_model",
    "write_arrays",
    "write_atomic",
    "write_json",
    "write_text",
]
