"""Rewinding to initialisation or to a later step, next to random controls.

At a high learning rate deeper networks have no winning ticket at
initialisation, but have one a little into training: Frankle et al. 2019
(arXiv:1903.01611), table 1 and figure 4. Their order at 16.7 % density:
rewound to step 500, then rewound to 0, which is no better than random. The
dense round is trained once for all of them. A smaller residual network in an
hour or two:

    tf-lottery run resnet20-cifar10 --model resnet_8 --iterations 2000 \\
        --evaluate-every 250 --rate "*=0.45" --rounds 3 --rewind-to 250it \\
        --also-rewind-to 0 --control-every 3 --control-trials 2 \\
        --output-dir runs/rewinding
    python examples/rewinding_matters.py --run runs/rewinding
"""

import argparse

from laboratory import curves as curves_lib
from laboratory import pages
from laboratory import runs

from tf_lottery.analysis import caveats
from tf_lottery.analysis import run_files
from tf_lottery.analysis.curves import chart
from tf_lottery.analysis.curves import of_runs

COLUMNS = {
    "val_accuracy": "Validation accuracy at the end, %",
    "test_accuracy": "Test accuracy at the end, %",
}
TEXT = (
    "Table 1 and figure 4 of Frankle et al. 2019, "
    "[arXiv:1903.01611](https://arxiv.org/abs/1903.01611): there, "
    "\"Resnet-18\" at learning rate 0.1 and 16.7 % density comes to 87.7 % "
    "rewound to step 0, 87.7 % with random masks, and above the dense "
    "network's 90.5 % rewound to step 500. Here tickets are those rewound to "
    "the later step, and so are random masks. Values are means, in brackets "
    "the least and the greatest."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=3)
    parser.set_defaults(preset="resnet20-cifar10")
    parser.add_argument("--rewind-to", default="250it", metavar="POINT")
    arguments = parser.parse_args()
    with runs.found(
        arguments, rewind_to=arguments.rewind_to, also_rewind_to=(0,),
        control_trials=1, control_every=arguments.rounds,
    ) as subject:
        preset, run = subject.preset, run_files.read(subject.path)
    curves = of_runs([run])
    tables = [
        curves_lib.table(curves, name, title)
        for name, title in COLUMNS.items()
    ]
    order = verdict(tables[0].rows[-1])
    pages.show(*tables)
    print(order)
    pages.write(
        arguments.output_dir,
        f"Where to rewind to: {preset.model} on {preset.dataset}",
        "\n".join([TEXT, "", order, "", *(
            f"- {line}"
            for line in caveats.of_run(run, curves, preset.published)
        )]),
        tables,
        {name: chart([run], name) for name in COLUMNS},
        runs.protocol(preset) | {
            "rewound to": f"step {preset.rewind_step}, and step 0",
            "trials": len(run.trials),
        },
        {"tickets": run.rows, "controls": run.controls},
    )


def verdict(row):
    """Says in which order the networks of the last round came."""
    density = row["density, %"]
    networks = {
        name: value.mean for name, value in row.items()
        if isinstance(value, pages.Spread)
    }
    ranked = sorted(networks, key=networks.get, reverse=True)
    names = ", ".join(f"{name} {networks[name]:.1f} %" for name in ranked)
    return f"The order at {density:.1f} % density, by validation: {names}."


if __name__ == "__main__":
    main()
