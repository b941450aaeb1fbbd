"""Do intervals hold what they say: the tables of docs/confidence.md.

    MSIBENCH_MIRROR=... python bench/measure_confidence.py coverage [words of titles or rows]
    MSIBENCH_MIRROR=... python bench/measure_confidence.py ions
    python bench/measure_confidence.py fields

Every section is made coarse; the fine one is looked at only to judge. Prints tables in Markdown.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from tabulate import tabulate

import msibench as mb
from msibench.datasets import load_card, read_section
from msibench.degradation import protocol
from msibench.io.data_warning import DataWarning
from msibench.library.installed import catalogue
from msibench.metrics.interval import coverage, interval_score, interval_width, structures
from msibench_datasets.phantom.generator import make_phantom

LEVELS = (0.5, 0.7, 0.9, 0.95, 0.99)
PROSTATE = tuple(f"C{n}S{s}1" for s in "AB" for n in (1, 2, 3, 4))

HELD_OUT = ("slice_5", "slice_12", "slice_17", "slice_22", "slice_27", "slice_30")


def public(name, sections=()):
    """Fine sections of a data set."""
    card = load_card(catalogue().datasets[name])
    return [read_section(card, one).image for one in sections or card.sections]


def phantoms(dose, seeds):
    made = [make_phantom(seed=seed, shape=(128, 160), counts=dose) for seed in seeds]
    images = [mb.MSImage(one.counts, one.mz, 10.0, mask=one.mask, unit="counts") for one in made]
    return list(zip(images, [one.expected for one in made], strict=True))


def truth_of(section, problem, signal=None):
    """Fine truth on the problem's scale, and the noise-free signal on it where there is one."""
    made = protocol(problem.protocol).prepare(section)
    if signal is None:
        return made.truth, None
    rows, columns = made.truth.shape
    return made.truth, signal[:, :rows, :columns] / made.scale[:, None, None]


def constant(known, done, truth):
    """Winkler's score of prediction plus and minus one width for the whole ion image."""
    reach = []
    for section in known:
        problem = mb.degrade(section, f"area-x{done.factor}@1")
        fine, true = mb.upscale(problem, done.method).values, truth_of(section, problem)[0]
        inside = slice(None) if true.mask is None else true.mask
        reach.append(np.abs(fine - true.values)[:, inside].reshape(len(fine), -1))
    width = np.quantile(np.concatenate(reach, axis=1), done.level, axis=1)[:, None, None]
    fine = done.prediction.values
    return interval_score(
        np.maximum(fine - width, 0), fine + width, truth.values, level=done.level, mask=truth.mask
    )


def judged(name, factor, sections, known, signals=None, constant_known=None):
    """One row of the table of coverage: pooled over ions and sections."""
    # The signal is judged by its own interval, narrower than that of the measurement.
    held, signal_held, worst, width, score, flat, levels, hard = [], [], [], [], [], [], [], []
    for index, section in enumerate(sections):
        problem = mb.degrade(section, f"area-x{factor}@1")
        done = mb.confidence(problem, "bicubic", calibration=known)
        truth, signal = truth_of(section, problem, None if signals is None else signals[index])
        inside = {"mask": truth.mask}
        found = coverage(done.lower.values, done.upper.values, truth.values, **inside)
        held.append(np.nanmean(found))
        worst.append(np.nanmean(found))
        if signal is not None:
            free = done.of_signal()
            told = coverage(free.lower.values, free.upper.values, signal, **inside)
            signal_held.append(np.nanmean(told))
        width.append(
            np.nanmean(interval_width(done.lower.values, done.upper.values, truth.values, **inside))
        )
        score.append(
            np.nanmean(
                interval_score(
                    done.lower.values, done.upper.values, truth.values, level=0.9, **inside
                )
            )
        )
        if constant_known:
            flat.append(np.nanmean(constant(constant_known, done, truth)))
        ends = {level: done.at(level) for level in LEVELS}
        levels.append(
            [
                abs(
                    np.nanmean(coverage(e.lower.values, e.upper.values, truth.values, **inside))
                    - level
                )
                for level, e in ends.items()
            ]
        )
        for low, high, true in zip(done.lower.values, done.upper.values, truth.values, strict=True):
            parts = structures(true)
            region = [m if truth.mask is None else m & truth.mask for m in parts.values()]
            hard.append([float(coverage(low, high, true, mask=m)) for m in region])
    return {
        "sections": name,
        "x": factor,
        "n": len(sections),
        "pooled": np.mean(held),
        "worst section": np.min(worst),
        "signal": np.mean(signal_held) if signal_held else None,
        "edges": np.nanmean([h[0] for h in hard]),
        "spots": np.nanmean([h[1] for h in hard]),
        "bright": np.nanmean([h[2] for h in hard]),
        "level error": np.mean(levels),
        "width": np.mean(width),
        "Winkler": np.mean(score),
        "constant width": np.mean(flat) if flat else None,
    }


def coverage_tables():
    prostate = dict(zip(PROSTATE, public("laicpms-prostate", PROSTATE), strict=True))
    a, b = ([prostate[f"C{n}S{s}1"] for n in (1, 2, 3, 4)] for s in "AB")
    brain = load_card(catalogue().datasets["lbae-mouse-brain"]).sections
    card = load_card(catalogue().datasets["lbae-mouse-brain"])
    train = public(card.name, [one for one in brain if one not in HELD_OUT])
    test = public(card.name, HELD_OUT)
    learned, tests = phantoms(60, (11, 12, 13, 14)), phantoms(60, (1, 2, 3))
    many = [section for section, _ in learned]
    bladder, tumour = public("bladder"), public("her2-tumour")
    doses = {dose: phantoms(dose, (1, 2, 3)) for dose in (6, 60, 600)}
    own = [("prostate", [*a, *b], None), ("bladder", bladder, None), ("tumour", tumour, None)]
    own += [
        (f"phantom, dose {n}", *map(list, zip(*made, strict=True))) for n, made in doses.items()
    ]
    own += [("brain", test, None)]
    table("Calibrated on the section itself, one scale up", [(n, s, (), e, ()) for n, s, e in own])
    same = [
        ("prostate, A to B", b, a, None, a),
        ("phantom, 4 to 3", *(list(each) for each in zip(*tests, strict=True))),
        ("brain, 20 to 6", test, train, None, train),
    ]
    name, sections, signals = same[1]
    same[1] = (name, sections, many, signals, many)
    table("Calibrated on sections of the same kind", same)
    table(
        "Calibrated on something else",
        [
            ("phantom dose 60 to dose 6", [s for s, _ in doses[6]], many, None, ()),
            ("phantom dose 60 to dose 600", [s for s, _ in doses[600]], many, None, ()),
            ("prostate to bladder", bladder, a, None, ()),
            ("phantom to tumour", tumour, many, None, ()),
            ("prostate to brain", test, a, None, ()),
            ("brain to prostate", b, train[:4], None, ()),
        ],
    )


def table(title, cases):
    """Print one table, its rows by factor."""
    rows = []
    wanted = sys.argv[2:]
    cases = [
        case for case in cases if not wanted or any(word in title + case[0] for word in wanted)
    ]
    for factor in (2, 4) if cases else ():
        for name, sections, known, signals, constant_known in cases:
            rows.append(judged(name, factor, sections, known, signals, constant_known))
            print(f"x{factor} {name} done", file=sys.stderr, flush=True)
    if not rows:
        return
    pooled = np.average([row["pooled"] for row in rows], weights=[row["n"] for row in rows])
    print(f"\n### {title}\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))
    print(f"\nAll sections of the table: {pooled:.3f}.", flush=True)


def ion_tables():
    """Coverage of each ion, pooled over sections; of the ions of a large panel the worst and the best."""
    prostate = dict(zip(PROSTATE, public("laicpms-prostate", PROSTATE), strict=True))
    a, b = ([prostate[f"C{n}S{s}1"] for n in (1, 2, 3, 4)] for s in "AB")
    cases = [
        ("prostate, A to B", b, a),
        ("prostate", [*a, *b], ()),
        (
            "phantom, 4 to 3",
            [s for s, _ in phantoms(60, (1, 2, 3))],
            [s for s, _ in phantoms(60, (11, 12, 13, 14))],
        ),
        ("bladder", public("bladder"), ()),
        ("tumour", public("her2-tumour"), ()),
    ]
    rows = []
    for factor in (2, 4):
        for name, sections, known in cases:
            held = []
            for section in sections:
                problem = mb.degrade(section, f"area-x{factor}@1")
                done = mb.confidence(problem, "bicubic", calibration=known)
                truth = truth_of(section, problem)[0]
                ends = (done.lower.values, done.upper.values)
                held.append(coverage(*ends, truth.values, mask=truth.mask))
            mean = np.nanmean(held, axis=0)
            order = np.argsort(mean)
            rows.append(
                {
                    "sections": name,
                    "x": factor,
                    "ions": len(mean),
                    "within 0.02": np.mean(np.abs(mean - 0.9) <= 0.02),
                    "within 0.05": np.mean(np.abs(mean - 0.9) <= 0.05),
                    "least": f"{mean[order[0]]:.3f} (m/z {sections[0].mz[order[0]]:.2f})",
                    "median": np.median(mean),
                    "most": f"{mean[order[-1]]:.3f} (m/z {sections[0].mz[order[-1]]:.2f})",
                }
            )
            print(f"x{factor} {name} done", file=sys.stderr, flush=True)
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))


def made_field(kind, steepness, counts, seed, shape=(144, 144)):
    """Counted ions of a random field: smoothed by a Gaussian, or of a power law, `counts` at full scale."""
    rng = np.random.default_rng([7, seed, int(10 * steepness), counts, kind == "smoothed"])
    spectrum = np.fft.rfft2(rng.normal(size=shape))
    away = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    if kind == "smoothed":
        spectrum *= np.exp(-2 * (np.pi * away * steepness) ** 2)
    else:
        spectrum *= np.maximum(away, 1 / max(shape)) ** (-steepness / 2) * (away > 0)
    field = np.fft.irfft2(spectrum, shape)
    low, high = np.quantile(field, [0.01, 0.99])
    return rng.poisson(counts * np.clip((field - low) / (high - low), 0, 1.3)).astype(np.float32)


def field_tables():
    """Coverage on fields about which everything is known, calibrated on themselves: what the rule was chosen on."""
    rows = []
    for factor in (2, 4):
        for kind, steepness in (
            ("smoothed", 1),
            ("smoothed", 2),
            ("smoothed", 4),
            ("power", 2),
            ("power", 3),
        ):
            row = {"field": f"{kind} {steepness}", "x": factor}
            for counts in (5, 50, 500):
                images = [made_field(kind, steepness, counts, seed) for seed in range(4)]
                section = mb.MSImage(np.array(images), 100.0 + np.arange(4), 10.0)
                problem = mb.degrade(section, f"area-x{factor}@1")
                done = mb.confidence(problem, "bicubic")
                ends = (done.lower.values, done.upper.values)
                held = coverage(*ends, truth_of(section, problem)[0].values)
                row[f"{counts} counts"] = held.mean()
            rows.append(row)
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    warnings.simplefilter("ignore", DataWarning)
    began = time.perf_counter()
    tables = {"coverage": coverage_tables, "ions": ion_tables, "fields": field_tables}
    tables[sys.argv[1]]()
    print(f"\n{time.perf_counter() - began:.0f} s", file=sys.stderr)
