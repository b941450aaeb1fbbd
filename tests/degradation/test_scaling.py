"""The scale on which intensities are scored."""

import numpy as np
import pytest

from msibench.degradation import Scaling
from msibench.errors import ConfigurationError


@pytest.mark.parametrize("quantile", [0.0, -0.1, 1.0000001, 1.5, 2.0, float("nan")])
def test_a_quantile_outside_of_0_to_1_is_refused(quantile):
    with pytest.raises(ConfigurationError, match="must lie in"):
        Scaling(quantile=quantile)


def test_the_quantile_one_scales_by_the_maximum():
    values = np.arange(12.0).reshape(1, 3, 4)
    assert Scaling(quantile=1).scale(values) == [11.0]
