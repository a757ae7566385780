"""The faces of packages: their public names, at once or a little later.

`import tf_lottery` imports everything, because that registers the classes
that `keras.models.load_model` needs. The command line imports the same, but
only to run a command: its `--help` and its errors do not wait for TensorFlow.
"""

import importlib
import pathlib
import sys

_PACKAGES = ("tf_lottery", "tf_lottery.experiments")
_PROGRAMS = ("tf-lottery", "tf_lottery")


def _is_command_line():
    if not sys.argv or not sys.orig_argv:
        return False
    # What Python was told to run. While it looks for the module of `-m`,
    # `sys.argv` has no better name for it than "-m".
    program = sys.orig_argv[-len(sys.argv):][0]
    return (
        sys.argv[0] in ("-m", program)
        and pathlib.PurePath(program).stem in _PROGRAMS
    )


# Whether this process is `tf-lottery` or `python -m tf_lottery`.
IS_COMMAND_LINE = _is_command_line()


def complete() -> None:
    """Gives all packages their public names, as an import does elsewhere."""
    if not IS_COMMAND_LINE:
        return
    for name in _PACKAGES:
        package = importlib.import_module(name)
        api = importlib.import_module(f"{name}.api")
        names = {public: getattr(api, public) for public in api.__all__}
        vars(package).update(names, __all__=api.__all__)
