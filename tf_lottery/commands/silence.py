"""What a command says of others' words: warnings plain, logs left out."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings


def quiet_logs() -> None:
    """Leaves fatal messages of TensorFlow; the environment has precedence."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)


@contextlib.contextmanager
def plain_warnings():
    """Shows warnings of ours as sentences, without a path and a line."""
    before = warnings.formatwarning

    def plain(message, category, *where, **more):
        if category is UserWarning:
            return f"warning: {message}\n"
        return before(message, category, *where, **more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def native_stderr():
    """Drops what libraries write to standard error, until there is an error.

    Some do when TensorFlow is imported, whatever the level of the logs is.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
