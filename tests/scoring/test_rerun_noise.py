import math

import numpy as np
import pytest
from scipy import stats

from msibench.scoring.paired import paired_difference
from msibench.scoring.rerun_noise import Noise, run_shift, seed_spread
from tests.scoring.tables import row, table


def test_the_noise_of_a_mean_is_the_sum_of_its_three_variances():
    noise = Noise(image=2.5, section=0.5, rerun=1.0)
    assert noise.of_mean(1, 1) == pytest.approx(math.sqrt(1 + 0.25 + 6.25))
    assert noise.of_mean(25, 5, 4) == pytest.approx(math.sqrt(1 / 4 + 0.25 / 5 + 6.25 / 25))


def test_the_shift_between_two_sides_is_the_pooled_error_of_two_samples():
    first, second = np.array([20.1, 20.4, 19.9, 20.2]), np.array([20.3, 20.0, 20.9])
    found = run_shift((first.var(ddof=1), 4), (second.var(ddof=1), 3), stated=9.0)
    oracle = stats.ttest_ind(first, second)
    assert found.deviation == pytest.approx((first.mean() - second.mean()) / oracle.statistic)
    assert found.freedom == oracle.df == 5


@pytest.mark.parametrize("sides", [(None, None), ((0.1, 3), None), (None, (0.1, 3))])
def test_a_shift_is_stated_unless_both_sides_hold_several_seeds(sides):
    found = run_shift(*sides, stated=0.3)
    assert (found.deviation, found.freedom) == (0.3, math.inf)


def of_seeds(values, metric="psnr", method="net"):
    return [
        row(method, metric, value, seed=seed, channel=channel)
        for seed, line in enumerate(values)
        for channel, value in enumerate(line)
    ]


def test_the_spread_of_seeds_is_the_variance_of_their_means():
    rows = of_seeds([[20.0, 22.0], [21.0, 23.0], [20.0, 23.0]])
    rows += of_seeds([[0.8, 0.8], [1.3, 1.3]], "sd_ratio")  # 0.2 and 0.3 from 1
    rows += of_seeds([[5.0], [9.0]], "rmse", method="other")
    found = seed_spread(table(rows), {"psnr": 0.1, "sd_ratio": 0.1})
    assert found == {
        ("area-x4@1", "net", "psnr", "image"): (pytest.approx(np.var([21, 22, 21.5], ddof=1)), 3),
        ("area-x4@1", "net", "sd_ratio", "image"): (pytest.approx(0.1**2 / 2), 2),
    }


def test_seeds_with_fewer_images_and_numbers_of_a_section_show_no_spread():
    rows = of_seeds([[20.0, 22.0], [21.0, 23.0], [90.0]])
    rows += [row("net", "psnr", 500.0, seed=1, channel=-1)]
    rows += of_seeds([[20.0, 22.0], [21.0, np.nan]], "nqm")
    found = seed_spread(table(rows), {"psnr": 0.1, "nqm": 0.1})
    assert found == {("area-x4@1", "net", "psnr", "image"): (pytest.approx(0.5), 2)}
    assert seed_spread(table(of_seeds([[20.0, 22.0]])), {"psnr": 0.1}) == {}


def test_a_variance_measured_elsewhere_is_added_as_in_welchs_test():
    rng = np.random.default_rng(4)
    first, second = rng.normal(0, 1, 7), rng.normal(0.5, 3, 5)
    found = paired_difference(
        first - second.mean(),
        np.zeros(7),
        np.arange(7),
        shared_variance=second.var(ddof=1) / 5,
        shared_freedom=4,
    )
    oracle = stats.ttest_ind(first, second, equal_var=False)
    interval = oracle.confidence_interval(0.95)
    assert found.freedom == pytest.approx(oracle.df)
    assert found.p == pytest.approx(oracle.pvalue)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])


def test_a_stated_variance_raises_the_degrees_of_freedom_and_adds_none_without_an_error():
    values = np.random.default_rng(4).normal(0, 1, 7)
    variance = values.var(ddof=1) / 7
    stated = paired_difference(values, np.zeros(7), np.arange(7), shared_variance=0.5)
    assert stated.freedom == pytest.approx((variance + 0.5) ** 2 / (variance**2 / 6))
    assert stated.error**2 == pytest.approx(variance + 0.5)
    sure = paired_difference(np.ones(7), np.zeros(7), np.arange(7), shared_variance=0.25)
    assert (float(sure.error), float(sure.freedom)) == (0.5, math.inf)
    unknown = paired_difference(np.ones(2), np.zeros(2), np.arange(2), shared_variance=0.5)
    assert np.isnan([unknown.error, unknown.freedom]).all()
    none = paired_difference(values, np.zeros(7), np.arange(7))
    assert none.freedom == pytest.approx(6)


def test_two_seeds_are_enough_for_a_spread():
    found = seed_spread(table(of_seeds([[20.0, 22.0], [21.0, 23.0]])), {"psnr": 0.1})
    assert found == {("area-x4@1", "net", "psnr", "image"): (pytest.approx(0.5), 2)}
