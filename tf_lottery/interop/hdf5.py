"""HDF5 files of others: nothing outside of them is read, nothing expanded."""

import h5py

from tf_lottery import files


def check(path, file):
    """Checks all groups and arrays of a file; returns how many numbers it has.

    HDF5 can take the content of an array from any file of the machine, and
    announce arrays of any size that a few bytes stand for. Keras does neither.

    Raises:
        DamagedFileError: If the file has links, arrays in other files or
            arrays that take more memory than their content is long.
    """
    numbers = 0
    waiting = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            _check_link(path, group, name)
            part = group[name]
            if isinstance(part, h5py.Group):
                waiting.append(part)
            elif isinstance(part, h5py.Dataset):
                _check_array(path, part)
                numbers += part.size or 0
    return numbers


def damaged(path, what):
    """Returns the error of a file that is not what was written."""
    return files.DamagedFileError(
        f"File '{path}' is damaged, or not one of tf_keras: {what}. "
        "It was left as it is."
    )


def _check_link(path, group, name):
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise damaged(
            path,
            f"'{group.name}/{name}' is a link to '{link.path}', which is not "
            "followed",
        )
    # A hard link to a group that is around it would never end.
    if h5py.h5o.get_info(group[name].id).rc > 1:
        raise damaged(path, f"'{group.name}/{name}' has several names")


def _check_array(path, array):
    if array.external or array.is_virtual:
        raise damaged(
            path,
            f"the content of '{array.name}' is in another file, which is not "
            "read",
        )
    if array.shape is None:
        return
    stored = array.id.get_storage_size()
    if array.nbytes > stored:
        raise damaged(
            path,
            f"'{array.name}' would take {array.nbytes} bytes, and its content "
            f"has {stored}",
        )
