"""`tf-lottery shrink`: make a saved model physically smaller."""

import pathlib

import tf_lottery
from tf_lottery import files
from tf_lottery import structured
from tf_lottery.commands import console as console_lib
from tf_lottery.commands import data as data_lib
from tf_lottery.commands import flags
from tf_lottery.commands import models

_SAMPLES = 1000


def main(arguments):
    """Shrinks a model and writes it."""
    out = models.output_path(arguments.model, arguments.output, ".small.keras")
    model = models.load(arguments.model)
    console = console_lib.stdout()
    if arguments.compact:
        with console.status("compacting") as status:
            small = structured.compact(model, progress=status.update)
        report = structured.report_of(small)
        plan, text = report.plan, str(report)
    else:
        plan = _plan(model, arguments)
        text = plan.report()
        if not arguments.report:
            # The last lines: what it costs before and after.
            text = text.rpartition("\n\n")[2]
    console.print(text, soft_wrap=True, markup=False)
    if not arguments.dry_run:
        if not arguments.compact:
            with console.status("shrinking") as status:
                small = structured.shrink(model, plan, progress=status.update)
        console.print(str(structured.proof_of(small)), soft_wrap=True)
        if arguments.recalibrate:
            _recalibrate(small, arguments.recalibrate, console)
    if arguments.save_plan:
        files.write_text(arguments.save_plan, plan.to_json(indent=1))
        console_lib.say_written(arguments.save_plan)
    if not arguments.dry_run:
        files.save_model(small, out)
        console_lib.say_written(out)


def _recalibrate(model, data, console):
    number = tf_lottery.recalibrate(model, data_lib.load(data, model).train)
    console.print(
        f"recalibrated: {number} layers of batch normalisation",
        soft_wrap=True,
    )


def _plan(model, arguments):
    if arguments.plan:
        text = pathlib.Path(arguments.plan).read_text(errors="replace")
        return structured.Plan.from_json(text)
    data = None
    if arguments.data:
        found = data_lib.load(arguments.data, model)
        data = data_lib.first(found.train, _SAMPLES)
    return structured.plan(**flags.given(
        structured.plan, arguments,
        model=model,
        exclude=arguments.exclude or (),
        data=data,
        loss=None if model.compiled else "sparse_categorical_crossentropy",
    ))
