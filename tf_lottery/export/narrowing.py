"""Before anything is encoded sparse, what is dead goes."""

import warnings

from tf_lottery import structured
from tf_lottery.structured import dead


def narrow(model):
    """Returns a model without its dead units, and strings to say about it.

    Narrow layers are faster on every target, whatever it can do with zeros;
    and nothing is lost, see `structured.compact`. It is the model given if
    nothing in it is dead or it cannot be told.
    """
    try:
        found = dead.Dead(model, None)
        if found.kept[found.graph.ids].all():
            return model, []
        with warnings.catch_warnings():
            # Of its class and its compiling: nobody gets it.
            warnings.simplefilter("ignore", UserWarning)
            small = structured.compact(model)
    except (ValueError, structured.VerificationError) as error:
        reason = str(error).partition("\n")[0]
        return model, [f"Dead units were left where they are: {reason}"]
    report = structured.report_of(small)
    before, after = report.plan.before, report.plan.after
    return small, [
        f"{report.unread + report.constant:,} dead units were removed: "
        f"{before['macs']:,} MACs became {after['macs']:,}."
    ]
