"""Which intensities float32 holds, and how many do not fit."""

import numpy as np
import pytest

from msibench.errors import DataError
from msibench.io.float32_range import refuse_infinite

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_the_largest_number_fits_and_what_lies_beyond_is_counted(kind):
    refuse_infinite(np.array([[LARGEST, -LARGEST, np.nan, 0]], kind), "a.h5")
    with pytest.raises(DataError, match=r"a\.h5: 2 intensities are infinite"):
        refuse_infinite(np.array([[LARGEST, np.inf, -LARGEST, -np.inf, np.nan]], kind), "a.h5")


def test_doubles_beyond_float32_are_counted_and_whole_numbers_fit():
    with pytest.raises(DataError, match=r"a\.h5: 1 intensities are infinite"):
        refuse_infinite(np.array([LARGEST, np.nextafter(LARGEST, np.inf)]), "a.h5")
    refuse_infinite(np.array([np.iinfo("u8").max], "u8"), "a.h5")
    refuse_infinite(np.zeros(0), "a.h5")
