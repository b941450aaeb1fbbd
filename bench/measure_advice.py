"""Does advice tell what the fine truth shows: the tables of docs/confidence.md.

    MSIBENCH_MIRROR=... python bench/measure_advice.py told [2] [4] [networks] [brain phantom ...] [FOLDER/]
    python bench/measure_advice.py speed [2] [4]
    MSIBENCH_MIRROR=... python bench/measure_advice.py sections    (likeness of the sections of boards)

Every section is made coarse; the fine one is looked at only to judge. Prints tables in Markdown. A
FOLDER keeps what methods made, so that tables are made again at once.
"""

from __future__ import annotations

import pickle
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from measure_confidence import HELD_OUT, PROSTATE, phantoms, public
from scipy.stats import spearmanr
from tabulate import tabulate

import msibench as mb
from msibench.advice import energies
from msibench.advice.likeness import likeness
from msibench.datasets import load_card, read_section
from msibench.degradation import protocol
from msibench.io.data_warning import DataWarning
from msibench.library import advising, board_record, similar_boards
from msibench.library.advice_values import KEEP
from msibench.library.advising import SINGLE
from msibench.library.installed import catalogue
from msibench.library.recommending import ERROR, FEW_COUNTS, WORTH, doubt, mean_skill
from msibench.library.similar_boards import SECTIONS, mean_of
from msibench.metrics import skill
from msibench.tracks import load_shipped, shipped_boards
from msibench_datasets.phantom.generator import make_phantom

DATASETS = {
    "bladder": "bladder", "tumour": "her2-tumour", "brain": "lbae-mouse-brain", "prostate": "laicpms-prostate",
    "phantom": "phantom",
}  # fmt: skip
"""Data set of each kind of section: its own boards are held out where advice is judged."""
PARTS = [
    {"network": network, "other": other}
    for network in (0.5, 0.75, 1.0)
    for other in (0.0, 0.25, 0.5)
]
MARGINS = (0.03, 0.05, 0.07, 0.09, 0.11, 0.13)
"""What the constants of advice are chosen from, without the data set that is judged."""


class Kept:
    """What was measured, in a folder, so that tables are made again without running methods again."""

    def __init__(self, folder):
        self.folder, self.section = folder, ""
        self.truth, self.factor = None, 1

    def once(self, name, make):
        if self.folder is None:
            return make()
        words = re.sub(r"[^\w.-]+", "-", f"{self.section} {name}")
        place = self.folder / f"{words}.pickle"
        if not place.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            place.write_bytes(pickle.dumps(make()))
        return pickle.loads(place.read_bytes())

    def keep_what_is_tried(self):
        """Let advice take from the folder what a method made of a section, and score that while it is there."""
        tried, expected = energies.added, advising._expected

        def named(spec, problem, detail, found):
            def watched(upscale, given, *rest, **more):
                def scored(part):
                    fine = upscale(part)
                    if part is given and fine.shape == self.truth.shape:
                        self.true_skill(spec.name, lambda: fine)
                    return fine

                return self.once(f"tried {spec.name}", lambda: tried(scored, given, *rest, **more))

            energies.added = watched
            return expected(spec, problem, detail, found)

        advising._expected = named

    def true_skill(self, method, make):
        """The skill of a method's prediction, which is made where it is not kept."""
        chain = f"area-x{self.factor}@1"
        return self.once(f"true {method}", lambda: skill(make(), self.truth, protocol=chain))


def sections_of_advice():
    every = {"bladder": public("bladder"), "tumour": public("her2-tumour")}
    every["brain"] = public("lbae-mouse-brain", HELD_OUT)
    every["prostate"] = public("laicpms-prostate", PROSTATE)
    for dose in (6, 60, 600):
        every[f"phantom, dose {dose}"] = [s for s, _ in phantoms(dose, (1, 2, 3))]
    return every


class Raw:
    """What the section itself told before boards were asked, boards of its own data set held out."""

    def __init__(self, dataset):
        self.told, self.records, self.networks = {}, [], set()
        known, combine = similar_boards.board_skills, board_record.with_boards

        def others(*given):
            return {name: one for name, one in known(*given).items() if name != dataset}

        def watched(told, records, networks):
            self.told, self.records, self.networks = told, records, networks
            return combine(told, records, networks)

        self.patches = (others, watched), (known, combine)

    def __enter__(self):
        similar_boards.board_skills, board_record.with_boards = self.patches[0]
        return self

    def __exit__(self, *_):
        similar_boards.board_skills, board_record.with_boards = self.patches[1]


def held_against_truth(section, factor, names, kept):
    """Advice from the coarse image, the skill that each method has in truth, and what the section told."""
    problem = mb.degrade(section, f"area-x{factor}@1")
    kept.truth, kept.factor = protocol(problem.protocol).prepare(section).truth.values, factor
    with Raw(dataset_of(kept.section)) as raw:
        advice = mb.advise(problem.low, factor, methods=names)
    given = mb.Problem(low=problem.low, factor=factor)
    true = {
        one: kept.true_skill(one, lambda one=one: mb.upscale(given, one).values)
        for one in advice.methods
    }
    return advice, true, raw


def dataset_of(section):
    """Data set of a kind of section, of which the first word names it."""
    return DATASETS[section.replace(",", " ").split()[0]]


def advice_row(name, held):
    """One row of the table of advice: bicubic's skill ion by ion, and what was recommended."""
    told = np.concatenate([advice.per_ion["bicubic"] for advice, *_ in held])
    seen = np.concatenate([true["bicubic"] for _, true, _ in held])
    known = np.isfinite(told) & np.isfinite(seen)
    gaps = [one["best"] - one["advice"] for one in map(picked_of, held)]
    words = [advice.recommended for advice, *_ in held]
    return {
        "sections": name,
        "n": len(held),
        "ions": int(known.sum()),
        "rank correlation": spearmanr(told[known], seen[known]).statistic,
        "told": told[known].mean(),
        "true": seen[known].mean(),
        "off by": np.abs(told - seen)[known].mean(),
        "within 0.02": np.mean(np.array(gaps) <= 0.02),
        "worst gap": max(gaps),
        "advised": max(sorted(set(words)), key=words.count),
    }


def picked_of(one):
    """Mean skill over the ions of a section: of every method, of what was advised, of the best."""
    advice, true, _ = one
    means = {method: mean_skill(values) for method, values in true.items()}
    mine = 0.0 if advice.recommended == KEEP else means[advice.recommended]
    return {KEEP: 0.0, **means, "advice": mine, "best": max(0.0, *means.values())}


def constant_choices(held):
    """Set by set, the mean skill of the method that was best on average on all other sets."""
    rows = []
    for name, mine in held.items():
        others = [picked_of(one) for key, each in held.items() if key != name for one in each]
        offered = set.intersection(*(set(one) for one in others)) - {"advice", "best"}
        best = max(sorted(offered), key=lambda n: np.mean([one[n] for one in others]))
        here = [picked_of(one) for one in mine]
        rows.append(
            {
                "sections": name,
                "n": len(here),
                "advice": np.mean([one["advice"] for one in here]),
                "constant choice": np.mean([one[best] for one in here]),
                "which, by the other sets": best,
                "best of each": np.mean([one["best"] for one in here]),
            }
        )
    return rows


def advice_tables(factors=(2, 4), networks=False, folder=None, kinds=()):
    kept = Kept(folder)
    kept.keep_what_is_tried()
    names = [one for one in SINGLE if networks or not is_network(one)]
    for factor in factors:
        held = {}
        for name, sections in sections_of_advice().items():
            if kinds and name.split(",")[0] not in kinds:
                continue
            held[name] = []
            for index, section in enumerate(sections):
                kept.section = f"{name} {index} x{factor}"
                held[name].append(held_against_truth(section, factor, names, kept))
            print(f"x{factor} {name} done", file=sys.stderr, flush=True)
        print(f"\n### Advice at x{factor}\n")
        rows = [advice_row(name, one) for name, one in held.items()]
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))
        if len(held) == 1:
            continue  # there is no other set to choose a constant method by
        rows = constant_choices(held)
        print("\nAgainst a constant choice, taken by the other sets:\n")
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4f"))
        say_in_all([one for each in held.values() for one in each], rows, factor)
        if not kinds:
            say_chosen_elsewhere(held)


def judged_with(one, parts):
    """Of one section with other parts of boards: gap to the best, ions (told, true), errors over their doubt."""
    advice, true, raw = one
    with_parts = board_record.PART_OF_BOARDS | parts
    kept, board_record.PART_OF_BOARDS = board_record.PART_OF_BOARDS, with_parts
    found = board_record.with_boards(raw.told, raw.records, raw.networks)
    board_record.PART_OF_BOARDS = kept
    order = sorted(advice.ions, key=lambda ion: ion.channel)
    ceiling = np.array([ion.ceiling for ion in order])
    skills = {name: np.minimum(each.skill, ceiling) for name, each in found.items()}
    means = {name: mean_skill(each) for name, each in skills.items()}
    best = max(means, key=means.get)
    real = {name: mean_skill(true[name]) for name in skills}
    gap = max(0.0, *real.values()) - (real[best] if means[best] >= WORTH else 0.0)
    ions = []
    for channel in np.flatnonzero(ceiling >= FEW_COUNTS):
        sound = {name: each[channel] for name, each in skills.items() if np.isfinite(each[channel])}
        top = max(sound, key=sound.get) if sound else None
        ions += [(sound[top], true[top][channel])] if top else []
    off = np.concatenate([np.abs(skills[n] - true[n]) / doubt(skills[n], ceiling) for n in skills])
    return gap, np.array(ions).reshape(-1, 2), off[np.isfinite(off)], max(0.0, *real.values())


def say_chosen_elsewhere(held):
    """Every constant chosen on the sections of the other data sets, and judged on those of the one left out."""
    every = [
        (dataset_of(name), [judged_with(one, parts) for parts in PARTS])
        for name, each in held.items()
        for one in each
    ]
    rows, gaps, encouraged, inside = [], [], [], []
    for out in dict.fromkeys(name for name, _ in every):
        others = [each for name, each in every if name != out]
        parts = min(range(len(PARTS)), key=lambda at: np.mean([each[at][0] for each in others]))
        ions = np.concatenate([each[parts][1] for each in others])
        fits = [at for at in MARGINS if false_share(ions, at) <= 0.05]
        margin = min(fits, default=MARGINS[-1])
        half = np.quantile(np.concatenate([each[parts][2] for each in others]), 0.9)
        mine = [each[parts] for name, each in every if name == out]
        own = np.concatenate([each[1] for each in mine])
        gaps += [(each[0], each[3]) for each in mine]
        encouraged += list(own[own[:, 0] > margin, 1])
        held_in = np.concatenate([each[2] for each in mine]) <= half
        inside += list(held_in)
        rows.append(
            {
                "left out": out,
                "n": len(mine),
                "parts of boards": f"{PARTS[parts]['network']:g}, {PARTS[parts]['other']:g}",
                "margin": margin,
                "half-width": half,
                "within 0.02": np.mean([each[0] <= 0.02 for each in mine]),
                "mean skill": np.mean([each[3] - each[0] for each in mine]),
                "best": np.mean([each[3] for each in mine]),
                "lose": false_share(own, margin),
                "held": np.mean(held_in),
            }
        )
    print("\nConstants chosen without the data set that is judged:\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"))
    gap, best = np.array(gaps).T
    print(
        f"\nAll {len(gap)} sections: within 0.02 of the best in {np.mean(gap <= 0.02):.0%}; mean skill "
        f"{np.mean(best - gap):+.4f}. Of {len(encouraged)} ions that may be sharpened {sum(np.array(encouraged) <= 0)} "
        f"lose ({np.mean(np.array(encouraged) <= 0):.1%}). Off by at most the half-width: {np.mean(inside):.1%}.",
        flush=True,
    )


def false_share(ions, margin):
    """Share of the ions told to be worth more than a margin that lose."""
    some = ions[ions[:, 0] > margin]
    return float(np.mean(some[:, 1] <= 0)) if len(some) else 0.0


def is_network(name):
    return bool(catalogue().methods[name].weights)


def say_in_all(held, constants, factor):
    picked = [picked_of(one) for one in held]
    weight = [row["n"] for row in constants]
    mine, constant = (
        np.average([row[key] for row in constants], weights=weight)
        for key in ("advice", "constant choice")
    )
    within = np.mean([one["best"] - one["advice"] <= 0.02 for one in picked])
    lost = [
        true[i.method][i.channel] <= 0 for a, true, _ in held for i in a.ions if i.method != KEEP
    ]
    told, seen = (
        np.concatenate(each)
        for each in zip(
            *[(a.per_ion["bicubic"], true["bicubic"]) for a, true, _ in held], strict=True
        )
    )
    off = []
    for advice, true, _ in held:
        order = sorted(advice.ions, key=lambda ion: ion.channel)
        ceiling = np.array([one.ceiling for one in order])
        for method, expected in advice.per_ion.items():
            off.extend(np.abs(expected - true[method]) / doubt(expected, ceiling))
    known = np.isfinite(told) & np.isfinite(seen)
    print(
        f"\nAll {len(held)} sections: recommended method within 0.02 of the best in {within:.0%}; mean "
        f"skill {mine:+.4f}, constant choice by the other sets {constant:+.4f}, best of each "
        f"{np.mean([one['best'] for one in picked]):+.4f}. Of {len(lost)} ions that may be sharpened "
        f"{sum(lost)} lose ({np.mean(lost):.1%}). Rank correlation over all {known.sum()} ions "
        f"{spearmanr(told[known], seen[known]).statistic:.3f}. Off by at most the half-width: "
        f"{np.nanmean(np.array(off) <= ERROR[factor]):.1%}; for 90 % it would be "
        f"{np.nanquantile(off, 0.9):.3f} (it is {ERROR[factor]}).",
        flush=True,
    )


def advice_speed(factors):
    """Processor time of advice for 45 ions of 200 x 300 pixels, all methods that it tries unasked."""
    made = [make_phantom(seed=seed, shape=(200, 300), counts=60) for seed in (1, 2, 3, 4)]
    values = np.concatenate([one.counts for one in made])[:45].astype(np.float32)
    section = mb.MSImage(values, 100.0 + np.arange(45), 10.0, mask=made[0].mask, unit="counts")
    for factor in factors:
        began = time.process_time()
        advice = mb.advise(section, factor)
        tried = f"{len(advice.methods)} methods"
        print(f"x{factor}: {time.process_time() - began:.0f} s of processor time, {tried}")


def write_sections():
    """Write what the public sections of committed boards look like beside the code of advice."""
    boards = {
        (one.dataset, name)
        for track in map(load_shipped, shipped_boards("cpu"))
        for one in track.problems
        for name in one.protocols
        if re.fullmatch(r"area-x\d+@\d+", name)
    }
    lines = ["dataset,protocol,pixel_size_um,signal,texture,fall"]
    for dataset, name in sorted(boards):
        factor = protocol(name).factor
        card = load_card(catalogue().datasets[dataset])
        found = []
        for section in card.test:
            low = mb.degrade(read_section(card, section).image, name).low
            if min(low.shape) >= 4:
                found.append(likeness(low, factor))
        like = mean_of(found)
        figures = (like.pixel_size_um, like.signal, like.texture, like.fall)
        lines.append(",".join([dataset, name, *(f"{one:.3g}" for one in figures)]))
        print(lines[-1], file=sys.stderr, flush=True)
    place = Path(mb.__file__).parent / "advice" / SECTIONS
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore", DataWarning)
    began = time.perf_counter()
    job, words = sys.argv[1], sys.argv[2:]
    factors = [int(word) for word in words if word.isdigit()] or (2, 4)
    if job == "sections":
        write_sections()
    elif job == "speed":
        advice_speed(factors)
    else:
        kept = next((Path(word) for word in words if "/" in word), None)
        kinds = [word for word in words if word in DATASETS]
        advice_tables(factors, "networks" in words, kept, kinds)
    print(f"\n{time.perf_counter() - began:.0f} s", file=sys.stderr)
