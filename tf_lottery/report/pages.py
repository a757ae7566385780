"""Pages: HTML files of a template, whole in themselves.

A page has its style sheet, its charts and the script that draws them inside,
and forbids the browser to load anything else.
"""

import functools

from tf_lottery import files
from tf_lottery.report import drawing


def save(out, template, pictures, **values):
    """Writes a page, and charts as PNG files beside it; returns its path."""
    files.write_text(out, render(template, **values))
    for name, chart in pictures.items():
        drawing.save(chart, out.with_name(f"{out.stem}-{name}.png"))
    return out


def render(template, **values):
    """Returns a page as text: a template with charts, `Table`s and values."""
    drawing.check_available()
    return _templates().get_template(template).render(
        script=drawing.script(), config=drawing.CONFIG, **values
    )


@functools.cache
def _templates():
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("tf_lottery.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
