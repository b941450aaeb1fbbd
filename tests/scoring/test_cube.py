"""Rows as an array: what is numbered how, what is averaged, and what is refused by name."""

import numpy as np
import pytest

from msibench.errors import DataError
from msibench.scoring.cube import SPECIMEN, cubes
from tests.scoring.tables import row, table


def only(rows, **columns):
    (cube,) = cubes(table(rows).assign(**columns))
    return cube


def test_images_methods_and_measures_are_numbered_by_name_whatever_the_order_of_the_rows():
    places = [("brain", "s1"), ("brain", "s0"), ("bladder", "s1"), ("bladder", "s0")]
    rows = [
        row(method, metric, value, dataset=dataset, section=section, channel=channel)
        for method, value in (("net", 2.0), ("bicubic", 1.0))
        for metric in ("ssim", "psnr")
        for channel in (1, 0)
        for dataset, section in places
    ]
    cube = only(rows)
    assert cube.methods == ("bicubic", "net")
    assert cube.measures == (("psnr", "image"), ("ssim", "image"))
    images = cube.images[["dataset", "section", "channel"]].to_numpy().tolist()
    assert images == [[d, s, c] for d, s in sorted(places) for c in (0, 1)]
    assert cube.sections.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (cube.values == np.array([1.0, 2.0])[:, None]).all()


def test_a_value_is_the_mean_over_its_seeds_and_nan_where_there_is_none():
    rows = [row("net", metric, 0.2, seed=0) for metric in ("psnr", "ssim", "vif")]
    rows += [row("net", metric, 0.6, seed=1) for metric in ("psnr", "ssim", "vif")]
    rows.append(row("net", "psnr", 0.5, channel=1))
    cube = only(rows)
    np.testing.assert_allclose(cube.values[:, 0], [[0.4, 0.4, 0.4], [0.5, np.nan, np.nan]])
    assert cube.present[:, 0].tolist() == [[True, True, True], [True, False, False]]


def test_a_double_is_named_by_its_metric_and_its_seed():
    rows = [row("a", "nqm", 1.0)]
    rows += [row("a", "psnr", 1.0, seed=seed) for seed in (0, 1, 1, 0)]
    rows += [row("a", "ssim", 1.0)]
    with pytest.raises(DataError, match=r"value of 'psnr' \(image\) .* channel 0 seed 0 occurs"):
        only(rows)


def test_specimens_are_numbered_by_name_and_an_empty_one_is_its_section():
    rows = [row("a", "psnr", 1.0, section=section) for section in ("s0", "s1", "s2", "s3")]
    assert only(rows).images[SPECIMEN].tolist() == ["s0", "s1", "s2", "s3"]
    cube = only(rows, specimen=["z", "", "animal", "z"])
    assert cube.images[SPECIMEN].tolist() == ["z", "s1", "animal", "z"]
    assert cube.specimens.tolist() == [2, 1, 0, 2]


def test_a_set_of_ions_without_a_name_is_one_of_its_own_and_comes_last():
    rows = [row("a", "psnr", 1.0, mz_set=name) for name in (None, "all", "some")]
    assert only(rows).images["mz_set"].fillna("").tolist() == ["all", "some", ""]


def test_a_method_that_has_no_row_is_named_beside_those_that_have():
    cube = only([row("a", "psnr", 1.0), row("b", "psnr", 1.0)])
    assert (cube.method("b"), cube.measure("psnr", "image"), cube.measure("ssim", "image")) == (
        1,
        0,
        None,
    )
    with pytest.raises(DataError, match="no row of method 'c'; it has a, b"):
        cube.method("c")
