import math

import numpy as np
import pytest
import tifffile

from msibench.io import DataWarning, read_section
from msibench.io.channel_names import mz_of

NAMES = {
    "m/z 798.5410": 798.541, "m/z 798,54": 798.54, "mz=798,54": 798.54, "MZ_798.54": 798.54,
    "m/z: 1,046.54": 1046.54, "m/z 1.046,54": 1046.54, "m/z 1'046.54": 1046.54, "m/z 1 046,54": 1046.54,
    "m/z 1,046": 1046, "m/z 798,541": 798.541, "m/z 7.9854e2": 798.54, "m/z 7,9854E+02": 798.54,
    "m/z 798.54 ± 5 ppm": 798.54, "m/z 500": 500, " m/z  500.25 [M+H]+": 500.25, "m/z 0": math.nan,
    "798.54": math.nan, "channel 3": math.nan, "": math.nan, "m/z": math.nan, "m/z 1e999": math.nan,
    "m/z 1,2,3": math.nan, "m/z 1 046": math.nan, "m/z 798.54 5 ppm": 798.54, "m/z 798.54 100 ppm": 798.54, "m/z 1\u00a0046,54": 1046.54, "DAPI m/z 500": math.nan,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_mz_of_a_name_however_it_is_written(name):
    assert mz_of(name) == pytest.approx(NAMES[name], nan_ok=True)


def test_a_comma_that_may_be_either_is_said():
    with pytest.warns(DataWarning, match="12 and a part, or 12 thousand"):
        assert math.isnan(mz_of("m/z 12,046"))


def test_the_channels_of_a_file_get_their_mz(tmp_path):
    stack = np.random.default_rng(0).random((3, 20, 24), dtype=np.float32)
    names = ["m/z 798,54", "m/z 1,046.54", "m/z 7.5e2"]
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": names}}
    )
    np.testing.assert_allclose(read_section(tmp_path / "a.ome.tif").mz, [798.54, 1046.54, 750])
