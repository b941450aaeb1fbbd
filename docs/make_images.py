"""Draw every picture of docs/images anew: ``python docs/make_images.py``.

The bladder is read from the mirror (MSIBENCH_MIRROR) and run once, about two minutes of processor time; the
pages are photographed with the Chromium that the tests use. ``--only bladder.png`` draws one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from msibench.datasets import load_card, read_section
from msibench.degradation import protocol
from msibench.leaderboard.board import read_board
from msibench.leaderboard.figure_style import fixed_style, saved, scale_bar
from msibench.leaderboard.images import SectionImages
from msibench.leaderboard.page import write_page
from msibench.leaderboard.page_images import stored_sections
from msibench.library.installed import catalogue
from msibench.metrics import hallucination_map
from msibench.metrics.hallucination import shares
from msibench.results.store import Store
from msibench.run_track import run_track
from msibench.tracks import Entry, ProblemSet, Track

IMAGES = Path(__file__).parent / "images"
MZ = 798.541
PROTOCOL = "area-x4@1"
METHODS = (
    "bicubic-backprojected", "swinir-msi-tiny", "ridge", "guide-only", "spandrel-realesrgan",
)  # fmt: skip
SAID = {
    "bicubic-backprojected": "no learning",
    "swinir-msi-tiny": "one image",
    "ridge": "with the stained image",
    "guide-only": "paints the stain",
    "spandrel-realesrgan": "an adversarial network",
}
TRACK = Track(
    name="bladder-x4",
    title="Mouse urinary bladder, 10 µm, four times finer",
    description="Eight of 79 ion images of one section, coarse pixels of 40 µm made by area mean.",
    problems=(ProblemSet(dataset="bladder", protocols=(PROTOCOL,), mz_set="demo"),),
    entries=tuple(Entry(method=name) for name in ("bicubic", *METHODS)),
    metrics=(
        "skill", "detail_match", "input_error", "improved_share", "omitted_share", "invented_share", "psnr",
        "ssim", "guide_leakage",
    ),
)  # fmt: skip
COLOURS = {"improved": "#0072b2", "omitted": "#b0b4ba", "invented": "#d55e00"}


@cache
def store() -> Store:
    """Run the methods once, for all pictures."""
    place = Store.open(Path(tempfile.mkdtemp(prefix="msibench-images-")) / "results")
    done = run_track(TRACK, catalogue(), place)
    if done.exit_code:
        raise SystemExit(f"the pictures need every method to run: {done}")
    return place


@cache
def section() -> SectionImages:
    """Return the bladder with every prediction."""
    (found,) = stored_sections(store(), read_board(store(), TRACK).collected.records)
    return found


def bladder() -> bytes:
    """Draw one ion image by every method, and below it what of its detail is right and what invented."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    seen = section()
    record = seen.records["bicubic"]
    channel = int(np.argmin(np.abs(np.array(record.mz) - MZ)))
    scale = seen.scale(channel)
    assert seen.truth is not None
    rows, columns = seen.truth.shape[1:]
    panels = [("coarse, 40 µm", "what methods see", seen.low[channel], None)]
    panels.append(("truth, 10 µm", "measured", seen.truth[channel], None))
    for name in METHODS:
        image = seen.prediction(name)
        assert image is not None
        found = hallucination_map(image[channel], seen.truth[channel], protocol=protocol(PROTOCOL))
        panels.append((name, SAID[name], image[channel], found))
    with fixed_style():
        figure = Figure(figsize=(11.6, 5.6), layout="compressed")
        FigureCanvasAgg(figure)
        grid = figure.subplots(4, 4)
        for axes in grid.flat:
            axes.set_axis_off()
        places = [(0, 0), (2, 0), (0, 1), (0, 2), (0, 3), (2, 1), (2, 2)]
        drawn = None
        for (row, column), (name, said, image, found) in zip(places, panels, strict=True):
            axes = grid[row][column]
            drawn = axes.imshow(
                np.asarray(image) * (scale.intensity / scale.top), cmap="viridis", vmin=0,
                vmax=scale.intensity, interpolation="nearest", extent=(0, columns, rows, 0),
            )  # fmt: skip
            axes.set_title(f"{name}\n{said}", fontsize=11)
            if (row, column) in {(0, 0), (2, 0)}:
                scale_bar(axes, columns, rows, seen.pixel_size_um, size=11)
            if found is not None:
                below = grid[row + 1][column]
                table = ListedColormap(["#ffffff", *COLOURS.values()])
                below.imshow(found, cmap=table, vmin=0, vmax=3, interpolation="nearest")
                below.set_axis_on()
                below.set(xticks=[], yticks=[])
                right, _, wrong = shares(found)
                below.set_xlabel(
                    f"{100 * right:.0f} % improved, {100 * wrong:.0f} % invented", fontsize=9
                )
        label = f"m/z {record.mz[channel]:.3f}, intensity (arbitrary unit)"
        bar = figure.colorbar(drawn, ax=grid[:, 3], location="right", extend="max", shrink=0.8)
        bar.set_label(label, fontsize=11)
        bar.ax.tick_params(labelsize=10)
        handles = [Patch(facecolor=colour, label=word) for word, colour in COLOURS.items()]
        grid[2][3].legend(
            handles=handles, loc="center left", frameon=False, fontsize=11,
            title="Detail that the coarse\nimage does not show,\nwhere it exceeds noise", title_fontsize=11,
        )  # fmt: skip
        return saved(figure, ".png", background="white")


@cache
def page() -> Path:
    """Write the page of the same run."""
    return write_page(store(), TRACK, Path(tempfile.mkdtemp(prefix="msibench-images-page-")))


def photograph(scheme: str, top: str) -> bytes:
    """Return a page as it stands on a screen of 1280 x 900, from an element on."""
    from playwright.sync_api import sync_playwright

    browser = os.environ.get("MSIBENCH_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = opened.new_page(
            viewport={"width": 1280, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        tab.goto(page().as_uri())
        tab.wait_for_selector("body[data-ready]")
        tab.evaluate(f"document.querySelector('{top}').scrollIntoView({{behavior: 'instant'}})")
        tab.wait_for_timeout(300)
        content: bytes = tab.screenshot()
        opened.close()
    return content


def veil() -> bytes:
    """Upscale an ion image of the phantom, and hatch what its interval does not support."""
    from msibench.io import write_image

    card = load_card(catalogue().dataset("phantom"))
    card = replace(card, parameters={**card.parameters, "counts": 600})
    fine = read_section(card, "synthetic-1").image
    rows, columns = (2 * (side // 2) for side in fine.values.shape[1:])
    pairs = fine.values[:, :rows, :columns].reshape(-1, rows // 2, 2, columns // 2, 2)
    coarse = replace(
        fine, values=pairs.mean((2, 4)), pixel_size_um=2 * fine.pixel_size_um, mask=None
    )
    with tempfile.TemporaryDirectory() as scratch:
        write_image(Path(scratch) / "section.npz", coarse)
        subprocess.run(
            [
                sys.executable, "-m", "msibench.cli.main", "upscale", "bicubic", "section.npz", "--mz",
                "417.2402", "--factor", "2", "--confidence", "0.9", "-o", "fine.png",
            ],
            cwd=scratch, check=True,
        )  # fmt: skip
        return next(Path(scratch).glob("fine*.png")).read_bytes()


DRAWN: dict[str, Callable[[], bytes]] = {
    "bladder.png": bladder,
    "page-light.png": lambda: photograph("light", "#look"),
    "page-dark.png": lambda: photograph("dark", ".compare"),
    "veil.png": veil,
}


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(DRAWN), action="append")
    for name in parser.parse_args().only or DRAWN:
        (IMAGES / name).write_bytes(DRAWN[name]())
        sys.stdout.write(f"{IMAGES / name}\n")


if __name__ == "__main__":
    main()
