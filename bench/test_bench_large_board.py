"""A board of 500 sections x 45 m/z x 20 methods: 450,000 images, 2.7 million simulated values.

Goals: the leaderboard's table from the rows in 10 s; the page opens in a browser.

    pytest bench/test_bench_large_board.py --benchmark-only -s
"""

import resource
import time

import numpy as np
import pandas as pd
import pytest

from msibench.leaderboard.board import Board
from msibench.leaderboard.page import make_page
from msibench.leaderboard.page_parts import FOLDER, write_parts
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.rows import COLUMNS, Collected, tidy
from msibench.leaderboard.table import leaderboard_table
from msibench.results.index import TrackIndex
from msibench.tracks import Track

METRICS = {
    "psnr": ("higher", 25.0, 3.0),
    "ssim": ("higher", 0.7, 0.1),
    "vif": ("higher", 0.3, 0.1),
    "nqm": ("higher", 10.0, 2.0),
    "sd_ratio": ("one", 0.9, 0.05),
    "rmse": ("lower", 0.05, 0.01),
}
SECTIONS, IONS, METHODS = 500, 45, 20


def simulated_rows(sections=SECTIONS, ions=IONS, methods=METHODS, seed=0):
    """Rows as a store would give them: images of unlike difficulty, methods of unlike skill."""
    rng = np.random.default_rng(seed)
    axes = (np.arange(size) for size in (methods, sections, len(METRICS), ions))
    m, s, k, i = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    centre, spread = (np.array([facts[j] for facts in METRICS.values()]) for j in (1, 2))
    hard = rng.normal(size=(len(METRICS), sections, ions))
    skill = 0.3 * rng.normal(size=(methods, len(METRICS)))
    noise = 0.3 * rng.normal(size=len(m))
    value = centre[k] + spread[k] * (hard[k, s, i] + skill[m, k] + noise)
    names = np.array(["bicubic", *(f"method-{j:02d}" for j in range(1, methods))], dtype=object)
    places = np.array([f"section-{j:03d}" for j in range(sections)], dtype=object)
    cell_names = np.array([f"{a}/{b}" for a in names for b in places], dtype=object)
    rows = pd.DataFrame(
        {
            "method": names[m], "dataset": "simulated", "section": places[s],
            "protocol": "area-x4@1", "mz_set": "all", "seed": 0, "control": "", "device": "cpu",
            "precision": "float32", "cell": cell_names[m * sections + s], "status": "ok",
            "status_reason": "", "origin": "measured", "task": "single-image", "is_control": False,
            "images": ions, "seconds_per_image": 0.1 * (1 + m), "fit_seconds": 0.0,
            "rss_mib": 500.0, "vram_mib": np.nan, "channel": i, "mz": 500.0 + i,
            "metric": np.array(list(METRICS), dtype=object)[k], "metric_version": 1,
            "region": "image",
            "direction": np.array([facts[0] for facts in METRICS.values()], dtype=object)[k],
            "value": value, "reason": "",
        }
    )  # fmt: skip
    return tidy(rows[list(COLUMNS)])


@pytest.fixture(scope="module")
def board():
    track = Track(name="simulated", entries=(), problems=(), metrics=tuple(METRICS))
    rows = simulated_rows()
    return Board(Collected(rows, {}), track, TrackIndex())


def timed(benchmark, function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = benchmark.pedantic(function, rounds=1)
    benchmark.extra_info |= {
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    return result


def test_table_of_450000_images(benchmark, board):
    table = timed(benchmark, lambda: leaderboard_table(board.rows, board.track))
    benchmark.extra_info["methods"] = len(table)
    print(f"\ntable: {benchmark.extra_info}")


def test_files_of_450000_images(benchmark, board):
    files = timed(
        benchmark, lambda: leaderboard_files(Board(board.collected, board.track, board.index))
    )
    benchmark.extra_info["bytes"] = {name: len(content) for name, content in files.items()}
    print(f"\nfiles: {benchmark.extra_info}")


def test_page_of_450000_images(benchmark, board, tmp_path):
    cells = [{"cell": name, "status": "ok"} for name in board.rows["cell"].unique()]
    text, parts, _ = timed(benchmark, lambda: make_page(board, cells, []))
    write_parts(tmp_path / FOLDER, parts, cells)
    (tmp_path / "index.html").write_text(text, encoding="utf-8")
    files = list((tmp_path / FOLDER).iterdir())
    benchmark.extra_info |= {
        "page_mb": round(len(text.encode()) / 1e6, 2),
        "files": len(files),
        "data_mb": round(sum(file.stat().st_size for file in files) / 1e6, 1),
    }
    api = pytest.importorskip("playwright.sync_api")
    import shutil

    with api.sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        if path is not None:
            browser = playwright.chromium.launch(
                executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page()
            start = time.perf_counter()
            page.goto((tmp_path / "index.html").as_uri())
            page.wait_for_function("document.querySelector('#box svg')")
            benchmark.extra_info["opened_s"] = round(time.perf_counter() - start, 1)
            start = time.perf_counter()
            page.select_option("#part", index=250)
            page.wait_for_selector('body[data-part]:not([data-part=""])')
            benchmark.extra_info["section_loaded_s"] = round(time.perf_counter() - start, 1)
            browser.close()
    print(f"\npage: {benchmark.extra_info}")
