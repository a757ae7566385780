"""Resources of this machine: how many workers there may be."""

import os
import pathlib
import warnings

# Of the memory that is there, data and models of others take a part, too.
_PART = 0.9


def cores():
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_used():
    """Returns the bytes of memory of this process; 0 if it is unknown."""
    try:
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def memory_available():
    """Returns the bytes that processes may take, or `None` if unknown."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        found = dict(line.split(":") for line in lines)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


def workers(jobs):
    """Returns how many workers there are, and warns if they are fewer.

    Each is taken to need as much memory as this process, with all its data.
    """
    if jobs == 1:
        return 1
    chosen, reason = min(jobs, cores()), f"{cores()} cores"
    each, free = memory_used(), memory_available()
    if each and free is not None and _PART * free < chosen * each:
        chosen = max(1, int(_PART * free / each))
        reason = (
            f"{free / 2**30:.1f} GiB of free memory, of which a worker needs "
            f"about {each / 2**30:.1f}"
        )
    if chosen < jobs:
        warnings.warn(
            f"There are {chosen} workers, not jobs={jobs}: this machine has "
            f"{reason}.",
            stacklevel=3,
        )
    return chosen
