import importlib.util
import socket
import subprocess
import sys

import numpy as np
import pytest

from msibench import metrics
from msibench.errors import MissingWeightsError
from msibench_iqa import msibench_metrics
from msibench_iqa.catalogue import PIQ, PYIQA
from msibench_iqa.measure import NETWORKS, measure, why_undefined
from msibench_iqa.offline import without_network

torch = pytest.importorskip("torch")
HAS_PYIQA = importlib.util.find_spec("pyiqa") is not None
needs_pyiqa = pytest.mark.skipif(not HAS_PYIQA, reason="pyiqa is not installed (extra [pyiqa])")


SEVERAL_SCALES = ("multi_scale_ssim", "information_weighted_ssim")
"""They ask for 161 pixels along each side."""


def noisy(rows, columns):
    rng = np.random.default_rng(0)
    reference = rng.random((2, rows, columns))
    return np.clip(reference + rng.normal(0, 0.1, reference.shape), 0, 1), reference


@pytest.fixture
def pair():
    return noisy(92, 125)


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """A machine with empty caches."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))


def test_discovery_imports_neither_package():
    code = (
        "import sys; from msibench_iqa import msibench_metrics; names = [m.name for m in "
        "msibench_metrics()]; assert 'piq:gmsd' in names; "
        "assert not {'torch', 'piq', 'pyiqa'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_offered_once():
    names = [spec.name for spec in msibench_metrics()]
    assert len(set(names)) == len(names)
    assert {f"piq:{name}" for name in PIQ} <= set(names)
    assert ("pyiqa:ahiq" in names) == HAS_PYIQA


@needs_pyiqa
@pytest.mark.filterwarnings("ignore")
def test_the_catalogue_is_what_pyiqa_says_of_itself():
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    theirs = {
        name: "lower" if facts.get("lower_better") else "higher"
        for name, facts in DEFAULT_CONFIGS.items()
        if facts["metric_mode"] == "FR" and name != "fgresq_pair"
    }
    assert dict(PYIQA) == theirs


@pytest.mark.parametrize("name", [name for name in PIQ if name not in NETWORKS])
def test_every_formula_of_piq_prefers_the_better_image(name):
    test, reference = noisy(*((165, 171) if name in SEVERAL_SCALES else (61, 70)))
    better = reference + 0.2 * (test - reference)
    good, bad = (
        measure(images, reference, package="piq", metric=name) for images in (better, test)
    )
    assert good.shape == (2,)
    assert good.dtype == np.float64
    assert np.all(good > bad if PIQ[name] == "higher" else good < bad)


def test_the_packages_agree_with_the_core_where_they_should(pair):
    test, reference = pair
    for name, ours in (("ssim", metrics.ssim), ("vif_p", metrics.vifp)):
        theirs = measure(test, reference, package="piq", metric=name)
        np.testing.assert_allclose(theirs, ours(test, reference), rtol=1e-6)


def test_the_range_is_scaled_and_clipped(pair):
    test, reference = pair
    plain = measure(test, reference, package="piq", metric="gmsd")
    scaled = measure(test * 255, reference * 255, package="piq", metric="gmsd", data_range=255)
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)
    beyond = np.where(test == test.max(), 5.0, test)
    assert np.isfinite(measure(beyond, reference, package="piq", metric="gmsd")).all()


def test_a_bad_image_leaves_its_neighbours_alone(pair):
    test, reference = pair
    alone = measure(test[1:], reference[1:], package="piq", metric="haarpsi")
    test[0, 3, 4] = np.nan
    values = measure(test, reference, package="piq", metric="haarpsi")
    assert np.isnan(values[0])
    assert values[1] == alone[0]
    assert [bool(r) for r in why_undefined(test, reference, package="piq", metric="haarpsi")] == [
        True,
        False,
    ]


def test_an_image_that_the_package_refuses_gets_its_words_as_reason():
    image = np.random.default_rng(0).random((20, 31))
    options = {"package": "piq", "metric": "multi_scale_ssim"}
    assert np.isnan(measure(image, image, **options))
    assert "161" in why_undefined(image, image, **options)[0]


def test_tensors_come_back_as_tensors(pair):
    test, reference = (torch.as_tensor(images) for images in pair)
    values = measure(test[None], reference[None], package="piq", metric="gmsd")
    assert values.shape == (1, 2)
    assert values.dtype == torch.float64


def test_a_mask_cuts_to_its_bounding_box(pair):
    test, reference = pair
    mask = np.zeros(reference.shape[1:], dtype=bool)
    mask[10:90, 20:120] = True
    inside = measure(test, reference, package="piq", metric="gmsd", mask=mask)
    cut = measure(test[:, 10:90, 20:120], reference[:, 10:90, 20:120], package="piq", metric="gmsd")
    np.testing.assert_array_equal(inside, cut)


@pytest.mark.parametrize("name", ["dists", "pieapp"])
def test_missing_weights_of_piq_are_said_and_not_fetched(name, pair, no_weights):
    with pytest.raises(MissingWeightsError, match=f"piq:{name} needs pretrained weights"):
        measure(*pair, package="piq", metric=name)


@needs_pyiqa
def test_missing_weights_of_pyiqa_are_said_and_not_fetched(pair, no_weights):
    with pytest.raises(MissingWeightsError, match="create_metric"):
        measure(*pair, package="pyiqa", metric="dists")


@needs_pyiqa
@pytest.mark.parametrize("name", ["ssim", "gmsd", "vif"])
def test_formulas_of_pyiqa_prefer_the_better_image(name, pair):
    test, reference = pair
    better = reference + 0.2 * (test - reference)
    good, bad = (
        measure(images, reference, package="pyiqa", metric=name) for images in (better, test)
    )
    assert np.all(good > bad if PYIQA[name] == "higher" else good < bad)


def test_errors_of_the_metric_itself_are_not_taken_for_missing_weights():
    with pytest.raises(TypeError), without_network("piq", "x", "y"):
        raise TypeError("wrong argument")


def test_the_network_works_again_afterwards():
    before = socket.getaddrinfo
    with pytest.raises(MissingWeightsError), without_network("piq", "x", "y"):
        socket.create_connection(("example.invalid", 80))
    assert socket.getaddrinfo is before
