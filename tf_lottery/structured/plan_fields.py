"""The fields of a plan that comes from a file, and what they must be."""

import itertools

# The kind of each field: `str` is one that is not empty, `int` a count; a list
# has entries of its first kind, and a tuple is a list of as many kinds.
_COSTS = dict.fromkeys(("units", "params", "macs", "bytes"), int)
_PLAN = {
    "groups": [dict], "frozen": [dict], "before": dict, "after": dict,
    "arguments": dict,
}
_GROUP = {
    "name": str, "producers": [str], "members": [(str, int, str)],
    "size": int, "kept": [int],
}
_FROZEN = {"path": str, "role": str, "units": int, "reason": str}


def check(fields):
    """Raises a `ValueError` unless all fields of a plan fit together."""
    _check("plan", fields, _PLAN)
    for group in fields["groups"]:
        _check("group", group, _GROUP)
        _check_unlike(group["producers"], "producers")
        kept, size = group["kept"], group["size"]
        ascending = all(a < b for a, b in itertools.pairwise(kept))
        if not ascending or any(number >= size for number in kept):
            raise ValueError(
                f"'kept' of group '{group['name']}' must be ascending "
                f"positions below {size}: {kept!r:.80}"
            )
    _check_unlike([group["name"] for group in fields["groups"]], "groups")
    for entry in fields["frozen"]:
        _check("entry of 'frozen'", entry, _FROZEN)
    measured = {"latency_ms"} & fields["arguments"].keys()
    costs = _COSTS | dict.fromkeys(measured, float)
    for name in ("before", "after"):
        _check(name, fields[name], costs)
    for what in _COSTS:
        if fields["after"][what] > fields["before"][what]:
            raise ValueError(f"There are more {what} after than before")


def _check(what, fields, kinds):
    if fields.keys() != kinds.keys():
        raise ValueError(f"A {what} has the fields {sorted(kinds)}")
    for name, kind in kinds.items():
        if not _fits(fields[name], kind):
            raise ValueError(f"'{name}' of a {what}: {fields[name]!r:.80}")


def _fits(value, kind):
    if isinstance(kind, list):
        return isinstance(value, list) and all(
            _fits(each, kind[0]) for each in value
        )
    if isinstance(kind, tuple):
        return isinstance(value, list) and len(value) == len(kind) and (
            all(map(_fits, value, kind))
        )
    if kind is int:
        return type(value) is int and value >= 0
    return isinstance(value, kind) and (kind is dict or value != "")


def _check_unlike(values, what):
    if len(set(values)) != len(values):
        raise ValueError(f"'{what}' names something twice")
