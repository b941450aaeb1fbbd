import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from msibench.scoring import compare_rows, comparisons, load_scheme, noninferiority, summarise
from msibench.scoring.bootstrap import two_level_bootstrap
from msibench.scoring.cube import SPECIMEN, cubes
from msibench.scoring.paired import every_pair, paired_difference
from msibench.scoring.replicates import SAME_SPECIMENS, SECTIONS, Replicates, numbers_of, per_group
from msibench.scoring.seeds import seed_from
from tests.scoring.tables import simulated

SCHEME = load_scheme("cao2025")
SHAPES = [(8, 2, 3), (5, 4, 1), (12, 2, 8)]


def studies(specimens, sections, images, repeats, *, alike=0.9):
    """Values of studies with mean 0, one a column: `alike` is the share of the variance between specimens."""
    rng = np.random.default_rng(specimens)
    between = np.sqrt(alike) * rng.standard_normal((specimens, 1, 1, repeats))
    inside = np.sqrt((1 - alike) / 2) * rng.standard_normal((specimens, sections, 1, repeats))
    noise = np.sqrt((1 - alike) / 2) * rng.standard_normal((specimens, sections, images, repeats))
    values = (between + inside + noise).reshape(-1, repeats)
    owner = np.repeat(np.arange(specimens), sections * images)
    return values, np.repeat(np.arange(specimens * sections), images), owner


def covered(found):
    return float(((found.low <= 0) & (found.high >= 0)).mean())


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_over_specimens_an_interval_covers_as_it_says_and_over_their_sections_it_does_not(shape):
    values, section, specimen = studies(*shape, 1500)
    blind = paired_difference(values, np.zeros_like(values), section)
    right = paired_difference(values, np.zeros_like(values), section, specimens=specimen)
    assert 0.93 <= covered(right) <= 0.97
    assert covered(blind) < 0.87
    few = values[:, :400]
    assert 0.92 <= covered(two_level_bootstrap(few, section, specimens=specimen, draws=400)) <= 0.98
    assert covered(two_level_bootstrap(few, section, draws=400)) < 0.88


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9, 1.0])
def test_it_covers_however_alike_the_sections_of_a_specimen_are(shape, alike):
    values, section, specimen = studies(*shape, 4000, alike=alike)
    paired = paired_difference(values, np.zeros_like(values), section, specimens=specimen)
    hits = [  # columns of one call share their draws
        covered(
            two_level_bootstrap(
                values[:, first : first + 50], section, specimens=specimen, draws=1000, seed=first
            )
        )
        for first in range(0, 4000, 50)
    ]
    assert 0.93 <= covered(paired) <= 0.97
    assert 0.93 <= np.mean(hits) <= 0.97


@given(st.lists(st.integers(1, 6), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_one_section_a_specimen_gives_the_same_bytes(sizes, random):
    names = [f"s{index}" for index in range(len(sizes))]
    other = [f"animal {index}" for index in range(len(sizes))]
    random.shuffle(other)
    section, specimen = np.repeat(names, sizes), np.repeat(other, sizes)
    values = np.random.default_rng(len(section)).standard_normal((len(section), 3))
    values[0, 1] = np.nan
    for find in (
        lambda **extra: two_level_bootstrap(values, section, draws=100, **extra),
        lambda **extra: paired_difference(values, values[:, ::-1], section, **extra),
        lambda **extra: every_pair(values, section, **extra)[2],
    ):
        plain, stated = find(), find(specimens=specimen)
        for name in type(plain).__dataclass_fields__:
            assert getattr(plain, name).tobytes() == getattr(stated, name).tobytes(), name


def test_with_specimens_of_one_size_it_is_the_paired_t_test_of_their_means():
    values, section, specimen = studies(6, 2, 3, 1)
    found = paired_difference(values[:, 0], np.zeros(36), section, specimens=specimen)
    oracle = stats.ttest_1samp(values.reshape(6, 6).mean(axis=1), 0)
    interval = oracle.confidence_interval(0.95)
    assert found.p == pytest.approx(oracle.pvalue)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert (found.scope, found.specimens, found.sections) == (SECTIONS, 6, 12)


def test_sections_of_too_few_specimens_say_nothing_about_other_specimens():
    values, section, specimen = studies(4, 2, 3, 1)
    plain = paired_difference(values[:, 0], np.zeros(24), section)
    found = paired_difference(values[:, 0], np.zeros(24), section, specimens=specimen)
    assert (found.low, found.high) == (plain.low, plain.high)
    assert (found.scope, found.specimens, found.sections) == (SAME_SPECIMENS, 4, 8)
    assert "too few specimens (4 < 5)" in str(found.note)
    drawn = two_level_bootstrap(values, section, specimens=specimen, draws=100)
    assert drawn.scope[0] == SAME_SPECIMENS
    assert drawn.low[0] == two_level_bootstrap(values, section, draws=100).low[0]


def test_columns_with_holes_are_judged_by_the_specimens_that_they_have():
    values, section, specimen = studies(5, 2, 3, 3)
    values[specimen == 0, 1] = np.nan
    values[(specimen > 0) & (section % 2 == 1), 2] = np.nan
    values[specimen == 0, 2] = np.nan
    found = two_level_bootstrap(values, section, specimens=specimen, draws=100)
    assert found.scope.tolist() == [SECTIONS, SAME_SPECIMENS, "images"]
    assert found.specimens.tolist() == [5, 4, 4]
    assert found.sections.tolist() == [10, 8, 4]


def test_a_section_of_two_specimens_and_other_lengths_are_refused():
    with pytest.raises(ValueError, match="a section is of two specimens"):
        two_level_bootstrap(np.zeros(4), [1, 1, 2, 2], specimens=["a", "b", "c", "c"])
    with pytest.raises(ValueError, match="3 specimens for 4 images"):
        paired_difference(np.zeros(4), np.ones(4), [1, 1, 2, 2], specimens=["a", "a", "b"])


def halves(rows, count):
    """Rows whose sections s0, s1, … are cut, two by two, from `count` specimens."""
    number = rows["section"].str.removeprefix("s").astype(int)
    return rows.assign(**{SPECIMEN: "animal " + (number % count).astype(str)})


def test_rows_that_state_specimens_are_ranked_over_them():
    rows = simulated({"bicubic": 0.0, "a": 0.5, "b": 0.6}, sections=12)
    plain = summarise(rows, SCHEME, control_method="bicubic", draws=200)
    six = summarise(halves(rows, 6), SCHEME, control_method="bicubic", draws=200)
    four = summarise(halves(rows, 4), SCHEME, control_method="bicubic", draws=200)
    assert "specimens" not in plain
    assert set(six["specimens"]) == {6}
    assert six["rank"].notna().all()
    assert set(four["composite.scope"]) == {SAME_SPECIMENS}
    assert four["rank"].isna().all()
    assert (four["composite.low"] == plain["composite.low"]).all()
    assert (six["composite.low"] != plain["composite.low"]).any()
    said = comparisons(halves(rows, 4), SCHEME, "bicubic", control_method="bicubic")
    assert said["p"].isna().all()
    assert set(said["specimens"]) == {4}


def test_an_empty_specimen_is_the_section_itself():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, sections=6)
    plain = summarise(rows, SCHEME, control_method="bicubic", draws=100)
    empty = summarise(rows.assign(specimen=""), SCHEME, control_method="bicubic", draws=100)
    pd.testing.assert_frame_equal(plain, empty)
    (cube,) = cubes(rows.assign(specimen=np.where(rows["section"] == "s0", "x", "")))
    assert len(np.unique(cube.specimens)) == 6


def test_sections_of_one_name_in_two_data_sets_are_two_specimens():
    rows = simulated({"bicubic": 0.0}, sections=2)
    both = pd.concat([rows, rows.assign(dataset="brain")]).assign(specimen="x")
    (cube,) = cubes(both)
    assert len(np.unique(cube.sections)) == 4
    assert len(np.unique(cube.specimens)) == 2


def test_a_loss_in_one_specimen_of_many_sections_is_not_proven_by_its_sections():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((6, 4, 3))
    loss = np.zeros((6, 1, 1))
    loss[0] = 1.2  # one animal of six
    new = base - loss + 0.01 * rng.standard_normal(base.shape)
    section = np.repeat(np.arange(24), 3)
    specimen = np.repeat(np.arange(6), 12)
    blind = noninferiority(base.ravel(), new.ravel(), section, margin=0.02)
    right = noninferiority(base.ravel(), new.ravel(), section, specimens=specimen, margin=0.02)
    assert blind.p < 0.05 < right.p


def test_older_rows_without_specimens_are_compared_as_the_newer_ones_say():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, sections=8)
    worse = rows.assign(value=rows["value"] - 0.3 * (rows["section"] == "s0"))
    margins = {"psnr": 0.02}
    plain = compare_rows(rows, worse, margins)
    stated = [
        compare_rows(rows, halves(worse, 4), margins),
        compare_rows(halves(rows, 4), worse, margins),
        compare_rows(halves(rows, 4), halves(worse, 4), margins),
    ]
    assert set(plain["scope"]) == {SECTIONS}
    for table in stated:
        assert set(table["scope"]) == {SAME_SPECIMENS}
        pd.testing.assert_frame_equal(table, stated[0])


def test_what_stands_behind_a_column_is_counted_by_section_and_specimen():
    """Six sections of two images: of five specimens, of four, with and without their values."""
    section = np.repeat(np.arange(6), 2)
    specimen = np.repeat([0, 1, 2, 3, 4, 4], 2)
    defined = np.ones((12, 5), dtype=bool)
    defined[section == 0, 1] = False  # five sections of four specimens
    defined[section < 2, 2] = False  # four of three
    defined[(section > 0) | (np.arange(12) == 0), 3] = False  # a single image
    defined[:, 4] = False
    found = Replicates.of(defined, section, specimen)
    assert found.images.tolist() == [12, 10, 8, 1, 0]
    assert found.sections.tolist() == [6, 5, 4, 1, 0]
    assert found.specimens.tolist() == [5, 4, 3, 1, 0]
    assert found.scopes().tolist() == [SECTIONS, SAME_SPECIMENS, "images", "", ""]
    assert [note.split(" (")[0] for note in found.notes()] == [
        "", "too few specimens", "too few sections", "too few sections", "no defined value"
    ]  # fmt: skip


def test_names_are_numbered_in_their_order_and_sections_stand_for_specimens_of_their_own():
    values = np.zeros((4, 1))
    section, specimen = numbers_of(values, ["b", "a", "c", "a"], ["x", "z", "x", "z"])
    assert (section.tolist(), specimen.tolist()) == ([1, 0, 2, 0], [0, 1, 0, 1])
    section, specimen = numbers_of(values[:, 0], ["b", "a", "c", "a"], ["x", "z", "y", "z"])
    assert section.tolist() == specimen.tolist() == [1, 0, 2, 0]
    for wrong in (np.zeros(()), np.zeros((4, 1, 1)), np.zeros(3)):
        with pytest.raises(ValueError, match="with one section name per image: got shape"):
            numbers_of(wrong, ["b", "a", "c", "a"])
    with pytest.raises(ValueError, match="a section is of two specimens"):
        numbers_of(values, ["a", "b", "a", "b"], ["x", "x", "y", "y"])


def test_rows_are_summed_group_by_group():
    rows = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    np.testing.assert_array_equal(per_group(rows, np.array([1, 3])), [[1, 10], [9, 90]])
    assert per_group(np.zeros((0, 2)), np.zeros(0, dtype=np.intp)).shape == (0, 2)


def test_a_seed_is_the_first_64_bits_of_the_hash_of_its_names():
    digest = hashlib.sha256(b"summary\x1farea-x4@1\x1f0").hexdigest()
    assert seed_from("summary", "area-x4@1", 0) == int(digest[:16], 16)
