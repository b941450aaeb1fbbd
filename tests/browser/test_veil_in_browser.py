"""The veil of a page: only where a method tells how sure it is, and more of it at a higher level."""

import re

import pytest

import msibench as mb

METHOD = """
import numpy as np
from scipy.ndimage import zoom
from msibench import Interval

class Knows:
    def upscale(self, problem):
        low, factor = np.nan_to_num(problem.low.values), problem.factor
        fine = [zoom(image, factor, order=3, grid_mode=True, mode="nearest") for image in low]
        return np.maximum(np.stack(fine), 0).astype(np.float32)

    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval.from_deviation(fine, 0.01 + 0.06 * np.sqrt(fine), level=level)
"""
TRACK = """
schema_version = 1
name = "sure"
methods = ["bicubic", { method = "FOLDER/mine.py:Knows", label = "knows" }]
metrics = ["psnr", "interval_coverage"]
control_method = "bicubic"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
mz = [417.2402, 703.5748]
"""


@pytest.fixture(scope="module")
def sure(browser, tmp_path_factory):
    from msibench.leaderboard.page import write_page

    folder = tmp_path_factory.mktemp("sure")
    (folder / "mine.py").write_text(METHOD)
    (folder / "track.toml").write_text(TRACK.replace("FOLDER", str(folder)))
    board = mb.run(str(folder / "track.toml"), results=folder / "results")
    return write_page(board.store, board.track, folder / "page").as_uri()


def share(page):
    return float(
        re.search(r"support, ([\d.e-]+) % of the pixels", page.inner_text("#veil-text"))[1]
    )


def choose(page, field, **options):
    before = page.evaluate("drawn")
    page.select_option(field, **options)
    page.wait_for_function("before => drawn > before", arg=before)
    page.wait_for_function("document.body.dataset.ready === `${state.problem}-${state.channel}`")
    page.wait_for_timeout(200)


def test_a_higher_level_veils_more(sure, visit):
    page = visit(sure)
    choose(page, "#method", value="knows")
    assert page.is_visible("#veil-block")
    assert "knows" in page.get_attribute("#veil", "aria-label")
    shares = []
    for level in ("50", "90", "99"):
        page.fill("#level", level)
        shares.append(share(page))
        assert page.inner_text("#level-state") == f"{level} %"
    assert shares[0] < shares[1] < shares[2]


def test_a_method_that_tells_nothing_has_no_veil(sure, visit):
    page = visit(sure)
    choose(page, "#method", value="knows")
    choose(page, "#method", value="bicubic")
    assert page.is_hidden("#veil-block")
