"""Error rates and power of groups and gates by simulation: the tables in docs/scores.md and docs/gates.md.

    python bench/simulate_statistics.py groups
    python bench/simulate_statistics.py gates

Seeded, on one processor, one to two minutes each. Nothing here is fitted to what it measures: the same
functions that a board and `msibench compare` call are given simulated values.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.stats import nct, norm, t
from tabulate import tabulate

from msibench.scoring import Noise, compare_rows, noninferiority
from msibench.scoring.multiple_tests import corrected_by_method, holm
from msibench.scoring.paired import every_pair, paired_difference
from msibench.scoring.verdict import MEAN_SHARE

IMAGE, SECTION, RERUN, MARGIN = 0.25, 0.05, 0.1, 0.1
"""The stated noise of a rerun, and the margin, in dB of PSNR."""
DESIGNS = ((1, 10), (6, 1), (6, 6))


def methods_on_sections(rng, methods, sections, spread, gain=0.0, erratic=1.0):
    """Scores in dB: hardness of a section, common to all, and each method's own deviation there."""
    scale = np.full(methods, spread / 2**0.5)  # two of them differ by `spread`
    scale[-1] *= erratic
    values = rng.normal(0, 2, (sections, 1)) + rng.normal(0, 1, (sections, methods)) * scale
    values[:, 0] += gain
    return values


def separated(values, sections, shared=True):
    """Which pairs differ by Holm over all, as in a board, or by t-tests without a common variance."""
    first, second, found = every_pair(values, sections)
    if not shared:
        found = paired_difference(values[:, first], values[:, second], sections)
    return first, second, holm(found.p) <= 0.05


def group_rates(methods, sections, spread, studies, *, gain=0.0, erratic=1.0, shared=True, seed=1):
    """Rate of studies with any false separation, and share of true differences that are found."""
    rng = np.random.default_rng(seed)
    wrong, found = 0, []
    for _ in range(studies):
        values = methods_on_sections(rng, methods, sections, spread, gain, erratic)
        first, _, apart = separated(values, np.arange(sections), shared)
        true = (first == 0) if gain else np.zeros(len(first), dtype=bool)
        wrong += bool(apart[~true].any())
        found.append(apart[true].mean() if gain else 0.0)
    return wrong / studies, float(np.mean(found))


def known_variance_power(methods, sections, spread, gain):
    """Power of the z-test at Holm's first step: no test of all pairs that knows less can exceed it."""
    pairs = methods * (methods - 1) / 2
    edge = norm.isf(0.025 / pairs)
    shift = gain / (spread / sections**0.5)
    return float(norm.sf(edge - shift))


def groups(studies=1000):
    lines = []
    for methods in (10, 22):
        for sections in (5, 6, 8, 12, 20):
            row = [
                f"{group_rates(methods, sections, 0.25, studies, erratic=erratic)[0]:.1%}"
                for erratic in (1.0, 4.0)
            ]
            lines.append([methods, sections, *row])
    print("Equal methods: studies with more than one group\n")
    heads = ["methods", "sections", "all alike", "one four times as erratic"]
    print(tabulate(lines, headers=heads, tablefmt="pipe", disable_numparse=True))

    print(
        "\nOne method 0.3 dB above its equals, eight sections: share of its pairs that are separated\n"
    )
    lines = []
    for name, spread in (
        ("0.25 dB between two methods' differences", 0.25),
        ("0.25 dB per ion image, six images a section", 0.25 * 2**0.5 / 6**0.5),
        ("0.1 dB between two methods' differences", 0.1),
    ):
        for methods in (2, 3, 5, 10, 22):
            ours = group_rates(methods, 8, spread, studies // 2, gain=0.3)[1]
            alone = group_rates(methods, 8, spread, studies // 2, gain=0.3, shared=False)[1]
            bound = known_variance_power(methods, 8, spread, 0.3)
            lines.append([name, methods, f"{ours:.0%}", f"{alone:.0%}", f"{bound:.0%}"])
    heads = ["section sd", "methods", "boards", "t-tests, own variances", "bound: variances known"]
    print(tabulate(lines, headers=heads, tablefmt="pipe", disable_numparse=True))


def rerun(rng, sections, images, loss, shared):
    """Difference of a rerun on every ion image, in dB."""
    shape = (sections, images)
    noise = rng.normal(0, SECTION, (sections, 1)) + rng.normal(0, IMAGE, shape)
    return (noise - loss + rng.normal(0, RERUN) * shared).ravel()


def best_valid(sections, images, loss, shared, tests=1):
    """Power of the best valid test of a loss at 5 %.

    Without a shared shift the variances of images and sections are unknown: the t-test of section means
    (inside one section: of images) is uniformly most powerful among unbiased tests. With one, that no
    values show, nothing exceeds the z-test that knows every variance.
    """
    variance = SECTION**2 / sections + IMAGE**2 / (sections * images) + (RERUN * shared) ** 2
    shift = loss / variance**0.5
    if shared:
        return float(norm.sf(norm.isf(0.05 / tests) - shift))
    freedom = (sections if sections > 1 else images) - 1
    return float(nct.sf(t.isf(0.05 / tests, freedom), freedom, shift))


def rate_of_worse(sections, images, loss, shared, trials, seed=2):
    rng = np.random.default_rng(seed)
    where = np.repeat(np.arange(sections), images)
    base = rng.normal(23, 2, len(where))
    noise = Noise() if shared else Noise(rerun=0.0)
    worse = 0
    for _ in range(trials):
        new = base + rerun(rng, sections, images, loss, shared)
        worse += noninferiority(base, new, where, margin=MARGIN, noise=noise).outcome == "worse"
    return worse / trials


def ten_metrics(sections, images, loss, agreement, trials, *, all_lose, seed=3):
    """Rate at which a method is called worse, ten of its metrics having changed."""
    rng = np.random.default_rng(seed)
    where = np.repeat(np.arange(sections), images)
    worse = 0
    for _ in range(trials):
        common = rerun(rng, sections, images, 0.0, True)[:, None]
        own = np.stack([rerun(rng, sections, images, 0.0, True) for _ in range(10)], axis=1)
        values = agreement**0.5 * common + (1 - agreement) ** 0.5 * own
        values[:, slice(None) if all_lose else 0] -= loss
        zero = np.zeros(values.shape)
        found = paired_difference(values, zero, where, shared_variance=RERUN**2)
        p = corrected_by_method(found.p_below(), ["net"] * 10)
        worse += bool((p <= MEAN_SHARE * 0.05).any())
    return worse / trials


def lost_section(images, trials, loss=5.0, seed=4):
    """Rate at which a section of six that lost 5 dB makes `compare` red, noise of a rerun on all."""
    rng = np.random.default_rng(seed)
    worse = 0
    for _ in range(trials):
        base = rng.normal(23, 2, 6 * images)
        new = base + rerun(rng, 6, images, 0.0, True)
        new[:images] -= loss
        sides = [_rows(values, images) for values in (base, new)]
        worse += bool((compare_rows(*sides, {"psnr": MARGIN})["outcome"] == "worse").any())
    return worse / trials


def _rows(values, images):
    where = np.arange(len(values))
    return pd.DataFrame(
        {
            "method": "net", "dataset": "toy", "section": (where // images).astype(str),
            "protocol": "area-x4@1", "mz_set": "all", "seed": 0, "control": "",
            "channel": where % images, "mz": 400.0 + where % images, "metric": "psnr",
            "metric_version": 1, "region": "image", "direction": "higher", "value": values,
            "reason": "",
        }
    )  # fmt: skip


def gates(trials=2000):
    lines = []
    for shared in (False, True):
        for loss in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5):
            row = ["0.1 dB" if shared else "none", f"{loss:g} dB"]
            for sections, images in DESIGNS:
                ours = rate_of_worse(sections, images, loss, shared, trials)
                best = best_valid(sections, images, loss, shared)
                row.append(f"{ours:.1%} of {best:.1%}" if loss else f"{ours:.1%}")
            lines.append(row)
    print("Called worse, of the power of the best valid test at this model\n")
    heads = ["shared shift", "true loss", *(f"{s} × {i}" for s, i in DESIGNS)]
    print(tabulate(lines, headers=heads, tablefmt="pipe", disable_numparse=True))

    print("\nTen metrics of one method changed, six sections, shared shift of 0.1 dB\n")
    lines = []
    for images in (1, 6):
        for loss, all_lose, name in (
            (0.0, True, "none"), (0.3, True, "0.3 dB in all"), (0.3, False, "0.3 dB in one"),
        ):  # fmt: skip
            row = [f"6 × {images}", name]
            for agreement in (0.0, 0.5, 0.95):
                rate = ten_metrics(6, images, loss, agreement, trials // 4, all_lose=all_lose)
                row.append(f"{rate:.1%}")
            row.append(f"{best_valid(6, images, loss, True, 1 if all_lose else 10):.1%}")
            lines.append(row)
    heads = ["images", "true loss", "correlation 0", "0.5", "0.95", "best single test"]
    print(tabulate(lines, headers=heads, tablefmt="pipe", disable_numparse=True))

    print("\nOne section of six lost 5 dB: found\n")
    lines = [[f"6 × {images}", f"{lost_section(images, trials // 10):.1%}"] for images in (1, 6)]
    print(tabulate(lines, headers=["images", "found"], tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    {"groups": groups, "gates": gates}[sys.argv[1]]()
