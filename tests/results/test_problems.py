"""What is written of a problem comes back, whole or some ion images at a time."""

import json

import numpy as np
import pytest

from msibench.errors import IntegrityError
from msibench.image import GuideImage, MSImage, Pair, Problem
from msibench.results.arrays import read_arrays
from msibench.results.problems import (
    SECTION,
    load_staged,
    pack_guide,
    pack_image,
    read_pairs,
    read_problem,
    section_file,
    write_pairs,
    write_problem,
)

RNG = np.random.default_rng(0)
MZ = np.array([100.5, np.nan, 300.25])


def image(rows=8, columns=12, channels=3, **facts):
    usual = {"pixel_size_um": 25.0, "ppm": 5.0, "unit": "counts"}
    values = RNG.random((channels, rows, columns), dtype=np.float32)
    return MSImage(values, MZ[:channels], **usual | facts)


def guide(**facts):
    values = RNG.random((2, 8, 12), dtype=np.float32)
    return GuideImage(values, pixel_size_um=2.5, channel_names=("a", "b"), kind="msi", **facts)


def same(one, two):
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.pixel_size_um, two.pixel_size_um)
    if two.mask is None:
        assert one.mask is None
    else:
        np.testing.assert_array_equal(one.mask, two.mask)
        assert one.mask.dtype == bool
    names = ("ppm", "unit") if isinstance(two, MSImage) else ("channel_names", "kind")
    assert [getattr(one, name) for name in names] == [getattr(two, name) for name in names]
    if isinstance(two, MSImage):
        np.testing.assert_array_equal(one.mz, two.mz)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_a_problem_comes_back(tmp_path, masked, full):
    mask = RNG.random((8, 12)) > 0.5 if masked else None
    low = image(2, 3, mask=None if mask is None else mask[:2, :3], pixel_size_um=float("nan"))
    more = (
        {"second": image(8, 12), "middle": image(4, 6), "guide": guide(mask=mask)} if full else {}
    )
    problem = Problem(low=low, factor=4, protocol="area-x4@1", **more)
    write_problem(tmp_path / "problem.h5", problem)
    cell = {"device": "cuda", "precision": "float16", "seed": 7}
    found = read_problem(tmp_path / "problem.h5", cell, scratch=tmp_path / "scratch")
    same(found.low, low)
    for name in ("guide", "second", "middle"):
        if full:
            same(getattr(found, name), more[name])
        else:
            assert getattr(found, name) is None
    assert (found.factor, found.protocol, found.seed) == (4, "area-x4@1", 7)
    assert (found.device, found.precision) == ("cuda", "float16")
    assert found.scratch.is_dir()
    again = read_problem(tmp_path / "problem.h5", cell, scratch=tmp_path / "scratch")
    assert again.scratch == found.scratch
    plain = read_problem(tmp_path / "problem.h5", {})
    assert (plain.device, plain.precision, plain.seed, plain.scratch) == ("cpu", "float32", 0, None)


def test_pairs_come_back_in_their_order(tmp_path):
    pairs = [
        Pair(low=image(2, 3), high=image(), factor=4, guide=guide(), section="x"),
        Pair(low=image(4, 6), high=image(), factor=2, guide=None, section="y"),
        *(Pair(low=image(2, 3), high=image(), factor=4, section=str(n)) for n in range(9)),
    ]
    write_pairs(tmp_path / "training.h5", pairs)
    found = read_pairs(tmp_path / "training.h5")
    assert [(pair.section, pair.factor) for pair in found] == [
        (pair.section, pair.factor) for pair in pairs
    ]
    for one, two in zip(found, pairs, strict=True):
        same(one.low, two.low)
        same(one.high, two.high)
    same(found[0].guide, pairs[0].guide)
    assert all(pair.guide is None for pair in found[1:])


def stage(folder, *, whole=True, repeats=(), truth=True):
    folder.mkdir(exist_ok=True)
    fine, low = image(), image(2, 3)
    arrays, header = {"scale": np.array([1.0, 2.0, 3.0])}, {"protocol": "area-x4@1", "notes": ["n"]}
    header["repeats"] = [list(one) for one in repeats]
    pack_image("low", low, arrays, header)
    pack_guide(guide(), arrays, header)
    noise_free = RNG.random((3, 8, 12), dtype=np.float32)
    with section_file(folder / SECTION, (3, 8, 12), whole=whole) as file:
        if truth:
            pack_image("truth", fine, arrays, header)
            arrays.pop("truth")
        for group in [slice(0, 3)] if whole else [slice(0, 2), slice(2, 3)]:
            if truth:
                file.add("truth", group, fine.values[group])
            file.add("noise_free", group, noise_free[group])
        file.finish(arrays, header)
    return fine, low, noise_free


def test_what_is_said_beside_the_arrays_is_written_in_one_order(tmp_path):
    write_problem(tmp_path / "problem.h5", Problem(low=image(2, 3), factor=4, guide=guide()))
    write_pairs(tmp_path / "training.h5", [Pair(low=image(2, 3), high=image(), factor=4)])
    for whole in (True, False):
        stage(tmp_path / str(whole), whole=whole)
    paths = ["problem.h5", "training.h5", f"True/{SECTION}", f"False/{SECTION}"]
    for path in paths:
        _, attributes = read_arrays(tmp_path / path, ())
        facts = json.loads(attributes["facts"])
        assert attributes["facts"] == json.dumps(facts, sort_keys=True)


@pytest.mark.parametrize("whole", [True, False])
def test_a_section_comes_back_whether_it_was_written_at_once_or_in_groups(tmp_path, whole):
    fine, low, noise_free = stage(tmp_path, whole=whole)
    found = load_staged(tmp_path)
    same(found.truth, fine)
    same(found.low, low)
    np.testing.assert_array_equal(found.noise_free, noise_free)
    np.testing.assert_array_equal(found.scale, [1, 2, 3])
    assert (found.protocol_name, found.protocol.factor, found.notes) == ("area-x4@1", 4, ("n",))
    assert found.guide.channel_names == ("a", "b")
    assert found.counts_per_unit is None
    assert found.uncharted is None
    assert found.mask is None
    assert len(found.digest) == 64
    assert load_staged(tmp_path, "known").digest == "known"


def test_some_ions_are_cut_out_of_everything_that_is_known_of_them(tmp_path):
    fine, low, noise_free = stage(tmp_path, repeats=[(1, 0, "none"), (2, 1, "counting")])
    found = load_staged(tmp_path)
    assert found.repeats == {1: (0, "none"), 2: (1, "counting")}
    part = found.some_ions(slice(1, 3))
    same(part.truth, fine.select(slice(1, 3)))
    same(part.low, low.select(slice(1, 3)))
    np.testing.assert_array_equal(part.noise_free, noise_free[1:3])
    np.testing.assert_array_equal(part.scale, [2, 3])
    assert part.counts_per_unit is None
    assert part.repeats == {0: (0, "none"), 1: (1, "counting")}
    np.testing.assert_array_equal(part.again, fine.values[[0, 1]])
    np.testing.assert_array_equal(part.some_ions(slice(1, 2)).again, fine.values[[1]])
    first = found.second_measurement(slice(0, 2))
    assert np.isnan(first[0]).all()
    np.testing.assert_array_equal(first[1], fine.values[0])


def test_a_section_without_a_second_measurement_or_a_truth_has_none(tmp_path):
    stage(tmp_path / "a")
    assert load_staged(tmp_path / "a").second_measurement(slice(0, 2)) is None
    stage(tmp_path / "b", truth=False, repeats=[(1, 0, "none")])
    blind = load_staged(tmp_path / "b")
    assert blind.truth is None
    assert blind.mask is None
    assert blind.second_measurement(slice(0, 2)) is None
    assert blind.some_ions(slice(0, 2)).truth is None


def test_a_section_that_is_missing_or_no_section_is_named(tmp_path):
    from msibench.results.arrays import write_arrays

    with pytest.raises(IntegrityError, match="is missing"):
        load_staged(tmp_path)
    for facts in ("{}", "no json", "[]"):
        write_arrays(tmp_path / SECTION, {"low": np.zeros((1, 2, 2))}, {"facts": facts})
        with pytest.raises(IntegrityError, match="no staged problem"):
            load_staged(tmp_path)
