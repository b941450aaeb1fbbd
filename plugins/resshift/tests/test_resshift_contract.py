from dataclasses import replace

import pytest

from msibench import WeightFile
from msibench.testing.method_contract import MethodContract
from msibench_resshift import msibench_methods

SPECS = {spec.name: spec for spec in msibench_methods()}
SMALL = tuple(
    WeightFile(name=f"networks/resshift/small_{part}.state.pt") for part in ("unet", "vq")
)


class TestResShiftB(MethodContract):
    """The method with the small stored networks in place of the published ones."""

    spec = replace(SPECS["resshift-b"], weights=SMALL)
    low_shape = (7, 6)


@pytest.mark.parametrize("name", SPECS)
def test_every_hyper_parameter_says_where_it_comes_from(name):
    assert SPECS[name].config.keys() <= SPECS[name].sources.keys()
