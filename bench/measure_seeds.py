"""Is a method that fits itself stable at a budget: one crop of the phantom, several seeds, an interval over them.

    python bench/measure_seeds.py METHOD OPTIONS [OPTIONS ...] [--ions 0,1] [--seeds 0,1,2]
    python bench/measure_seeds.py deepfere-quick ion_iterations=150 ion_iterations=1500,ion_learning_rate=5e-4

OPTIONS are settings of the method, separated by commas, on top of its own. The crop is 96 x 96 pixels, made four times
coarser. Prints a table in Markdown: PSNR of every seed, their mean with Student's 95 % interval (of several), bicubic beside it, and
seconds of processor.
"""

import time

import click
import numpy as np
from scipy.stats import t as student
from tabulate import tabulate

import msibench as mb
from msibench.cli._values import settings
from msibench.datasets import load_card, read_section
from msibench.library.installed import catalogue

CROP = slice(16, 112)


@click.command()
@click.argument("method")
@click.argument("budgets", nargs=-1, required=True)
@click.option("--ions", default="0,1", help="Channels of the phantom.")
@click.option("--seeds", default="0,1,2")
def main(method: str, budgets: tuple[str, ...], ions: str, seeds: str) -> None:
    """Fit every ion with every budget and seed."""
    section = read_section(load_card(catalogue().dataset("phantom")), "synthetic-1")
    whole = mb.GuideImage(section.guide.values[:, CROP, CROP], kind=section.guide.kind)
    lines = []
    for ion in map(int, ions.split(",")):
        fine = section.image.crop(CROP, CROP).select([ion])
        plain = _psnr(fine, mb.degrade(fine), "bicubic")
        for budget in budgets:
            start = time.process_time()
            found = [
                _psnr(
                    fine,
                    mb.degrade(fine, guide=whole, seed=seed),
                    method,
                    settings(budget.split(",")),
                )
                for seed in map(int, seeds.split(","))
            ]
            spent = (time.process_time() - start) / len(found)
            mean, interval = float(np.mean(found)), ""
            if len(found) > 1:
                half = student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1)
                half /= len(found) ** 0.5
                interval = f" [{mean - half:.1f}, {mean + half:.1f}]"
            lines.append(
                [
                    fine.channel_names()[0],
                    budget,
                    ", ".join(f"{value:.1f}" for value in found),
                    f"{mean:.1f}{interval}",
                    f"{plain:.1f}",
                    f"{spent:.0f}",
                ]
            )
            click.echo(f"{lines[-1]}", err=True)
    headers = ["ion", method, "seeds (dB)", "mean (dB)", "bicubic (dB)", "s a fit"]
    click.echo(tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True))


def _psnr(
    fine: mb.MSImage, problem: mb.Problem, method: str, config: dict[str, object] | None = None
) -> float:
    """Return the PSNR of one ion image against the fine one, both on the scale of the problem."""
    made = mb.upscale(problem, method, config=config or {})
    rows = mb.evaluate(made, fine, problem, metrics=["psnr"])
    return float(rows.loc[rows["region"] == "image", "value"].iloc[0])


if __name__ == "__main__":
    main()
