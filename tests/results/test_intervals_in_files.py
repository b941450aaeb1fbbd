"""The intervals beside a prediction: what was written comes back, and a part of one is damage."""

import json
import math

import numpy as np
import pytest

from msibench.errors import IntegrityError
from msibench.results.arrays import write_arrays
from msibench.results.told_intervals import calibrated_interval, intervals_of, told_interval

STACK = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
CALIBRATED = {
    "calibrated_reach": STACK + 1,
    "calibrated_signal": STACK + 2,
    "calibrated_quantiles": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "calibrated_levels": np.array([0.5, 0.9]),
    "calibrated_up": np.array([1.5, 2.5]),
}
ABOUT = {"never_negative": True, "words": "on 2 sections"}


def written(path, arrays, about=None, **attributes):
    if about is not None:
        attributes["calibrated"] = json.dumps(about)
    write_arrays(path, {"prediction": STACK} | arrays, attributes)
    return path


def test_a_file_without_intervals_has_none(tmp_path):
    path = written(tmp_path / "a.h5", {})
    assert told_interval(path) is None
    assert calibrated_interval(path) is None
    assert intervals_of(path).not_calibrated == ""
    why = intervals_of(written(tmp_path / "b.h5", {}, not_calibrated="it fell"))
    assert (why.not_calibrated, why.calibrated) == ("it fell", None)
    assert why.some_ions(slice(1)).not_calibrated == "it fell"


def test_the_interval_that_a_method_told_comes_back(tmp_path):
    path = written(tmp_path / "a.h5", {"lower": STACK - 1, "upper": STACK + 3}, interval_level=0.8)
    told = intervals_of(path).told
    np.testing.assert_array_equal(told.lower, STACK - 1)
    np.testing.assert_array_equal(told.upper, STACK + 3)
    assert told.level == 0.8
    assert intervals_of(path).calibrated is None


@pytest.mark.parametrize(("never_negative", "floor"), [(True, 0.0), (False, -math.inf)])
def test_the_interval_that_was_calibrated_comes_back(tmp_path, never_negative, floor):
    about = ABOUT | {"never_negative": never_negative}
    found = intervals_of(written(tmp_path / "a.h5", CALIBRATED, about)).calibrated
    for name, values in CALIBRATED.items():
        np.testing.assert_array_equal(getattr(found, name.removeprefix("calibrated_")), values)
    assert (found.floor, found.calibrated) == (floor, "on 2 sections")


def test_half_an_interval_is_damage(tmp_path):
    path = written(tmp_path / "a.h5", {"lower": STACK}, interval_level=0.8)
    with pytest.raises(IntegrityError, match="no array 'upper'"):
        told_interval(path)
    for name in CALIBRATED:
        part = {other: values for other, values in CALIBRATED.items() if other != name}
        with pytest.raises(IntegrityError, match=f"no array '{name}'"):
            calibrated_interval(written(tmp_path / f"{name}.h5", part, ABOUT))
    for number, about in enumerate(({"words": "x"}, {"never_negative": True}, [], None, 3)):
        path = written(tmp_path / f"{number}.h5", CALIBRATED, calibrated=json.dumps(about))
        with pytest.raises(IntegrityError, match="interval is damaged"):
            calibrated_interval(path)


def test_an_interval_is_not_larger_than_what_may_be_read(tmp_path):
    path = written(tmp_path / "a.h5", {"lower": STACK, "upper": STACK}, interval_level=0.8)
    assert told_interval(path, max_bytes=STACK.nbytes) is not None
    with pytest.raises(IntegrityError, match="is read"):
        told_interval(path, max_bytes=STACK.nbytes - 1)
    path = written(tmp_path / "b.h5", CALIBRATED, ABOUT)
    assert calibrated_interval(path, max_bytes=STACK.nbytes) is not None
    with pytest.raises(IntegrityError, match="is read"):
        calibrated_interval(path, max_bytes=STACK.nbytes - 1)
