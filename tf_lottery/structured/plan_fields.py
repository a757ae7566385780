"""The fields of a plan that comes from a file, and what they must be."""

import itertools

_COSTS = {"units", "params", "macs", "bytes"}


def check(plan):
    """Raises a `ValueError` unless all fields of a plan fit together."""
    for group in plan.groups:
        _check_group(group)
    _unlike([group.name for group in plan.groups], "groups")
    check_list(plan.frozen, "frozen", dict)
    for entry in plan.frozen:
        _check_frozen(entry)
    _check_costs(plan)
    if not isinstance(plan.arguments, dict):
        raise ValueError(f"'arguments' must be a dict: {plan.arguments!r:.80}")


def check_list(values, what, kind):
    """Raises a `ValueError` unless values are a list of one type."""
    if not isinstance(values, list) or not all(
        isinstance(value, kind) for value in values
    ):
        raise ValueError(f"'{what}' must be a list: {values!r:.80}")


def _check_group(group):
    _text(group.name, "name")
    where = f"of group '{group.name}'"
    check_list(group.producers, f"producers {where}", str)
    _unlike(group.producers, f"producers {where}")
    check_list(group.members, f"members {where}", list)
    for member in group.members:
        if len(member) != 3:
            raise ValueError(f"A member {where} is no triple: {member!r:.80}")
        _text(member[0], f"weight {where}")
        _count(member[1], f"axis {where}")
        _text(member[2], f"kind {where}")
    _count(group.size, f"size {where}")
    check_list(group.kept, f"kept {where}", int)
    for number in group.kept:
        _count(number, f"kept {where}")
    ascending = all(a < b for a, b in itertools.pairwise(group.kept))
    if not ascending or any(number >= group.size for number in group.kept):
        raise ValueError(
            f"'kept' {where} must be ascending positions below {group.size}: "
            f"{group.kept!r:.80}"
        )


def _check_frozen(entry):
    if entry.keys() != {"path", "role", "units", "reason"}:
        raise ValueError(f"An entry of 'frozen' has fields {sorted(entry)}")
    for name in ("path", "role", "reason"):
        _text(entry[name], f"{name} of what is frozen")
    _count(entry["units"], "units of what is frozen")


def _check_costs(plan):
    for name, costs in (("before", plan.before), ("after", plan.after)):
        if not isinstance(costs, dict) or costs.keys() != _COSTS:
            raise ValueError(f"'{name}' must have {sorted(_COSTS)}")
        for what, number in costs.items():
            _count(number, f"{what} {name}")
    for what, number in plan.after.items():
        if number > plan.before[what]:
            raise ValueError(f"There are more {what} after than before")


def _text(value, what):
    if not isinstance(value, str) or not value:
        raise ValueError(f"'{what}' must be a string: {value!r:.80}")


def _count(value, what):
    if type(value) is not int or value < 0:
        raise ValueError(f"'{what}' must be a count: {value!r:.80}")


def _unlike(values, what):
    values = list(values)
    if len(set(values)) != len(values):
        raise ValueError(f"'{what}' names something twice")
