import subprocess
import sys

import numpy as np
import pytest
import torch

from msibench import Problem, Skip
from msibench.image import as_stack
from msibench.testing.mirror import mirrored
from msibench_resshift import msibench_methods
from msibench_resshift.method import ResShift
from msibench_resshift.schedule import ScheduleError
from msibench_resshift.training import network_for_training, objective_for_training


@pytest.fixture(scope="module")
def weights():
    folder = mirrored("networks/resshift/small_unet.state.pt").parent
    return {
        "resshift_bicsrx4_s4.pth": folder / "small_unet.state.pt",
        "autoencoder_vq_f4.pth": folder / "small_vq.state.pt",
    }


def problem(values, seed=0, factor=4, mz=None):
    return Problem(low=as_stack(values, mz), factor=factor, seed=seed)


def ions(*shape):
    return np.random.default_rng(1).random(shape, dtype=np.float32) * 900


def test_every_release_is_offered_with_its_files_and_licence():
    specs = {spec.name: spec for spec in msibench_methods()}
    assert list(specs) == [
        "resshift-b",
        "resshift-r-v1",
        "resshift-r-v2",
        "resshift-r-v3",
        "resshift-msi",
    ]
    for spec in specs.values():
        assert [file.name for file in spec.weights][1] == "autoencoder_vq_f4.pth"
        assert all(file.non_commercial for file in spec.weights)
    assert specs["resshift-msi"].config["schedule"] == "msi_sr"


def test_importing_the_plugin_imports_no_torch():
    code = "import sys, msibench_resshift; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_same_seed_same_image_whatever_the_batch_and_the_order_of_ions(weights):
    values, mz = ions(3, 9, 14), [700.1, 701.2, 702.3]
    one = ResShift(schedule="bicsr", weights=weights, batch=1)
    many = ResShift(schedule="bicsr", weights=weights, batch=3)
    first = one.upscale(problem(values, mz=mz))
    assert first.shape == (3, 36, 56)
    assert first.min() >= 0
    np.testing.assert_allclose(many.upscale(problem(values, mz=mz)), first, rtol=1e-4, atol=0.05)
    np.testing.assert_array_equal(one.upscale(problem(values[::-1], mz=mz[::-1]))[::-1], first)
    assert one.report()["schedule"] == "bicsr"
    assert len(one.report()["noise_sha256"]) == 64


def test_another_seed_gives_another_sample_and_another_recorded_noise(weights):
    method = ResShift(schedule="bicsr", weights=weights)
    values = ions(1, 8, 8)
    first, noise = method.upscale(problem(values)), method.report()["noise_sha256"]
    second = method.upscale(problem(values, seed=1))
    assert np.abs(first - second).max() > 1
    assert method.report()["noise_sha256"] != noise


def test_large_images_go_through_in_tiles_and_the_report_says_that_this_matters(weights):
    method = ResShift(schedule="bicsr", weights=weights, tile=16, overlap=4)
    assert method.upscale(problem(ions(1, 25, 8))).shape == (1, 100, 32)
    assert method.report()["tiles_per_image"] == 2
    assert method.report()["tiling_changes_result"]


def test_a_factor_other_than_four_is_not_applicable(weights):
    answer = ResShift(schedule="bicsr", weights=weights).upscale(problem(ions(1, 8, 8), factor=2))
    assert isinstance(answer, Skip)


def test_the_schedule_of_another_release_is_refused_when_the_method_is_made(weights):
    with pytest.raises(ScheduleError):
        ResShift(schedule="msi_sr", weights=weights)


def test_the_latent_loss_falls_when_the_network_learns(weights):
    config = {"schedule": "bicsr"}
    network = network_for_training(config, factor=4, weights=weights).train()
    objective = objective_for_training(config, factor=4, weights=weights)
    low, high = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 32, 32)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = objective(network, low, high, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert not any(p.requires_grad for p in objective.autoencoder.parameters())
