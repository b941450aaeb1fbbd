"""The judgement of a registration at its limits, and errors at landmarks by hand."""

import numpy as np
import pytest

from msibench.errors import RegistrationError
from msibench.registration import (
    Affine,
    BSpline,
    Landmarks,
    assess,
    fit_linear,
    folding,
    leave_one_out,
    mutual_information,
    target_errors,
)
from msibench.registration import quality as judging
from msibench.registration.quality import QualityReport, _judge, _shifts
from msibench.registration.transform import Composite

GOOD = {
    "mutual_information_before": 0.5,
    "mutual_information_after": 0.6,
    "mutual_information_chance": 0.2,
    "overlap": 1.0,
    "folding": 0.0,
}


def marks(moving, fixed, active=None):
    fixed = np.asarray(fixed, dtype=float)
    active = np.ones(len(fixed), bool) if active is None else np.asarray(active)
    return Landmarks(tuple(map(str, range(len(fixed)))), np.asarray(moving, float), fixed, active)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"mutual_information_after": 0.4996}, ""),  # a thousandth is the optimiser's last step
        ({"mutual_information_after": 0.4994}, "fell from 0.5000 to 0.4994"),
        ({"mutual_information_chance": 0.6}, "no better than with the guide shifted"),
        ({"mutual_information_chance": 0.5999}, ""),
        ({"overlap": 0.5}, ""),
        ({"overlap": 0.496}, "only 50 % of the section lies on the guide"),
        ({"folding": 0.0003}, "folds over on 0.03 % of the section"),
    ],
)
def test_each_fault_is_a_reason_from_its_limit_on(change, said):
    reasons = _judge(GOOD | change, (), (), 3.0)
    assert len(reasons) == bool(said)
    assert said in "".join(reasons)


def test_the_median_error_at_landmarks_may_be_the_limit():
    for place in (0, 1):
        errors = [(), ()]
        errors[place] = (1.0, 3.0, 90.0)
        assert _judge(GOOD, *errors, 3.0) == ()
        (reason,) = _judge(GOOD, *errors, 2.99)
        assert reason.startswith(
            f"median {('leave-one-out', 'held-out')[place]} landmark error 3.00"
        )
        errors[place] = (float("nan"),)
        assert len(_judge(GOOD, *errors, 3.0)) == 1


def test_a_report_reads_as_what_was_measured():
    report = QualityReport(
        **GOOD | {"overlap": 0.875, "folding": 0.0125},
        leave_one_out=(1.0, 2.0, 4.0),
        target_errors=(0.5, 3.0),
        reasons=("it folds",),
    )
    text = "\n".join(report.lines())
    assert "0.5000 before, 0.6000 after, 0.2000 by chance" in text
    assert "87.5 % of the section lies on the guide" in text
    assert "1.25 % of the section" in text
    assert (
        "leave-one-out error median 2.00, largest 4.00 pixels of the ion images (3 landmarks)"
        in text
    )
    assert "held-out error      median 1.75, largest 3.00 pixels" in text
    assert text.endswith("NOT ACCEPTED: it folds")
    assert report.definition() == GOOD | {
        "overlap": 0.875,
        "folding": 0.0125,
        "leave_one_out_fixed_pixels": [1.0, 2.0, 4.0],
        "target_errors_fixed_pixels": [0.5, 3.0],
        "accepted": False,
        "reasons": ["it folds"],
    }
    plain = QualityReport(**GOOD)
    assert plain.accepted
    assert len(plain.lines()) == 3


def test_errors_are_told_in_micrometres_the_held_out_ones_first():
    both = QualityReport(**GOOD, leave_one_out=(1.0, 2.0, 4.0), target_errors=(0.5, 3.0))
    assert both.error_text(10.0) == (
        "error 17.5 µm (median), 30 µm at most, at 2 held-out landmarks"
    )
    one = QualityReport(**GOOD, leave_one_out=(1.0, 2.0, 4.0))
    assert one.error_text(float("nan")) == (
        "error 2 pixels (median), 4 pixels at most, at 3 landmarks, each left out once"
    )
    assert "no landmarks were given" in QualityReport(**GOOD).error_text(10.0)


def test_an_error_on_the_guide_is_told_in_pixels_of_the_ion_images():
    """A map that stretches rows by 2 and columns by 5: a miss of (4, 15) guide pixels is (2, 3)."""
    fixed = np.array([[1.0, 2.0], [3.0, 7.0], [8.0, 4.0]])
    stretch = Affine(np.diag([2.0, 5.0]), [1.0, -1.0])
    errors = target_errors(stretch, stretch(fixed) + np.array([4.0, 15.0]), fixed)
    np.testing.assert_allclose(errors, np.hypot(2, 3))


def test_leaving_out_fits_to_all_other_landmarks_and_only_those_in_use():
    fixed = [[0.0, 0.0], [0.0, 6.0], [6.0, 0.0], [3.0, 3.0]]
    moving = [[1.0, 1.0], [1.0, 7.0], [7.0, 1.0], [99.0, 99.0]]
    some = marks(moving, fixed, [True, True, True, False])
    seen = []

    def shift(landmarks):
        seen.append(landmarks.names)
        return fit_linear("translation", landmarks)

    np.testing.assert_allclose(leave_one_out(some, shift), 0.0, atol=1e-12)
    assert seen == [("1", "2"), ("0", "2"), ("0", "1")]


def test_folding_is_a_share_of_the_section():
    rows = np.indices((7, 4), dtype=float)[0]
    shifts = np.zeros((2, 7, 4))
    shifts[0] = np.where(rows > 3, -30.0, 0.0)
    bent = BSpline(shifts, [-10.0, -10.0], [5.0, 20.0])
    share = folding(bent, (20, 20))
    assert 0 < share < 1
    top = np.zeros((20, 20), bool)
    top[:3] = True
    assert folding(bent, (20, 20), top) == 0
    assert folding(bent, (20, 20), np.zeros((20, 20), bool)) == share


def test_mutual_information_of_a_table_is_its_sum():
    """Two pictures of two values: counts 3, 1, 1, 3 of eight pixels."""
    a = [0, 0, 0, 0, 1, 1, 1, 1]
    b = [0, 0, 0, 1, 0, 1, 1, 1]
    by_hand = 2 * (3 / 8 * np.log(3 / 8 / 0.25) + 1 / 8 * np.log(1 / 8 / 0.25))
    assert mutual_information(a, b) == pytest.approx(by_hand)
    assert mutual_information(a, b, bins=2) == pytest.approx(by_hand)
    holes = [*a, np.nan, 1.0], [*b, 0.0, np.inf]
    assert mutual_information(*holes) == pytest.approx(by_hand)
    assert mutual_information([1.0], [2.0]) == 0.0
    assert mutual_information([1.0, 2.0], [1.0, 2.0]) == pytest.approx(np.log(2))
    with pytest.raises(RegistrationError, match="one shape"):
        mutual_information([1.0], [1.0, 2.0])


def test_chance_is_looked_for_a_quarter_of_the_section_away_on_every_side():
    assert sorted(_shifts((8, 20))) == sorted(
        (down, across) for down in (-2, 0, 2) for across in (-5, 0, 5) if (down, across) != (0, 0)
    )


def test_overlap_is_that_of_the_measured_part():
    from msibench.image import as_stack

    rng = np.random.default_rng(0)
    guide = rng.random((20, 20))
    stack = rng.random((2, 20, 20))
    right = np.zeros((20, 20), bool)
    right[:, 10:] = True
    half = Affine(np.eye(2), [0.0, 10.0])  # the left half of the section lies on the guide
    whole = assess(guide, as_stack(stack), half, half)
    assert whole.overlap == pytest.approx(0.5)
    assert assess(guide, as_stack(stack, mask=right), half, half).overlap == pytest.approx(0.0)
    assert assess(guide, as_stack(stack, mask=~right), half, half).overlap == pytest.approx(1.0)


def test_the_guide_is_blurred_by_the_stretch_of_the_map_in_the_middle_of_the_section(monkeypatch):
    """A map whose row stretches by ``2 + row / 10`` and its column by ``3 + column / 20``."""

    class Widening(Composite):
        def __call__(self, points):
            row, column = np.moveaxis(np.asarray(points, float), -1, 0)
            return np.stack([2 * row + row**2 / 20, 3 * column + column**2 / 40], axis=-1)

    seen = []

    def record(picture, ratio):
        seen.append(ratio)
        return picture

    monkeypatch.setattr(judging, "smooth_to", record)
    rng = np.random.default_rng(0)
    assess(rng.random((61, 161)), rng.random((2, 21, 31)), Widening(), Widening())
    assert seen == [pytest.approx(np.sqrt((2 + 10 / 10) * (3 + 15 / 20)))]


def test_just_enough_landmarks_have_no_error_of_leaving_one_out():
    rng = np.random.default_rng(0)
    guide, stack = rng.random((20, 20)), rng.random((2, 20, 20))
    there = Affine.identity()
    points = rng.uniform(2, 18, (4, 2))
    off = marks(points + np.array([[1.0, 0]] * 4), points)

    def affine(landmarks):
        return fit_linear("affine", landmarks)

    three = assess(guide, stack, there, there, landmarks=off.select([0, 1, 2]), fit=affine)
    assert three.leave_one_out == ()
    four = assess(guide, stack, there, there, landmarks=off, fit=affine)
    np.testing.assert_allclose(four.leave_one_out, np.zeros(4), atol=1e-9)
    assert assess(guide, stack, there, there, landmarks=off).leave_one_out == ()
    kept = assess(guide, stack, there, there, held_out=off, max_target_error=1.0)
    np.testing.assert_allclose(kept.target_errors, np.ones(4))
    assert not any("landmark error" in reason for reason in kept.reasons)
    strict = assess(guide, stack, there, there, held_out=off, max_target_error=0.99)
    assert any("held-out landmark error 1.00" in reason for reason in strict.reasons)


def test_a_fall_by_just_a_thousandth_is_none():
    found = GOOD | {"mutual_information_before": 1.0, "mutual_information_chance": 0.5}
    assert _judge(found | {"mutual_information_after": 0.999}, (), (), 3.0) == ()
    (reason,) = _judge(found | {"mutual_information_after": 0.99899}, (), (), 3.0)
    assert reason == "mutual information fell from 1.0000 to 0.9990"
