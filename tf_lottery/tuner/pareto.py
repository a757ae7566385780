"""The best compromises of two measures."""


def front(points, cost, monitor):
    """Returns the points than which none is cheaper and no worse.

    Args:
        points: List of dicts.
        cost: String, the key of what should be small.
        monitor: `tf_lottery.results.Monitor`, the metric that should be good.

    Returns:
        List of dicts, the cheapest first, each better than those before.

    Example:

    >>> from tf_lottery import results
    >>> from tf_lottery.tuner import pareto
    >>> points = [{"bytes": 3, "accuracy": 0.9}, {"bytes": 2, "accuracy": 0.9},
    ...           {"bytes": 1, "accuracy": 0.8}]
    >>> pareto.front(points, "bytes", results.Monitor("accuracy"))
    [{'bytes': 1, 'accuracy': 0.8}, {'bytes': 2, 'accuracy': 0.9}]
    """
    sign = 1 if monitor.smaller else -1
    found = []
    for point in sorted(
        points, key=lambda p: (p[cost], sign * p[monitor.name])
    ):
        value = point[monitor.name]
        if not found or monitor.worse_by(value, found[-1][monitor.name]) < 0:
            found.append(point)
    return found
