import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from msibench.testing.mirror import mirrored
from msibench_resshift.network import build_autoencoder, build_unet, pad, sample
from msibench_resshift.schedule import (
    SCHEDULES,
    ScheduleError,
    as_schedule,
    check_file,
    schedule_for,
)

ORACLE = "networks/resshift"
SAMPLED = ("bicsr_s4", "realsr_v1v2_s15", "realsr_v3_s4", "msi_sr_s4")


@pytest.fixture(scope="module")
def stored():
    return np.load(mirrored(f"{ORACLE}/small.npz"))


@pytest.fixture(scope="module")
def unet_state():
    return torch.load(mirrored(f"{ORACLE}/small_unet.state.pt"), weights_only=True)


@pytest.fixture(scope="module")
def vq_state():
    return torch.load(mirrored(f"{ORACLE}/small_vq.state.pt"), weights_only=True)


def facts(name):
    return json.loads(mirrored(f"{ORACLE}/{name}.json").read_text())


def close(ours, theirs):
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("kind", ["small_unet", "small_vq"])
def test_key_names_shapes_and_buffers_are_the_published_ones(kind, unet_state, vq_state):
    build, state = (
        (build_unet, unet_state) if kind == "small_unet" else (build_autoencoder, vq_state)
    )
    network = build(facts(kind)["config"])
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: shape for key, (_, shape) in facts(kind)["state"].items()}
    network.load_state_dict(state)  # strict
    for key, value in build(facts(kind)["config"]).state_dict().items():
        if key.endswith(("attn_mask", "relative_position_index")):
            assert torch.equal(value, state[key]), key


def test_hyper_parameters_read_off_a_state_dict_are_those_it_was_made_with(unet_state, vq_state):
    assert build_unet(unet_state).config == build_unet(facts("small_unet")["config"]).config
    assert (
        build_autoencoder(vq_state).config == build_autoencoder(facts("small_vq")["config"]).config
    )


def test_full_size_networks_have_the_published_number_of_parameters():
    with torch.device("meta"):
        unet, autoencoder = build_unet(), build_autoencoder()
    assert sum(p.numel() for p in unet.parameters()) == 118_593_583
    assert sum(p.numel() for p in autoencoder.parameters()) == 55_322_782
    assert unet.config.multiple == 64
    # The level of 8 x 8 is no larger than a window: nothing is shifted there.
    masked = [key for key in unet.state_dict() if key.endswith("attn_mask")]
    assert len(masked) == 6
    assert not any(key.startswith("middle_block") for key in masked)


@pytest.mark.parametrize("size", ["16x16", "32x16"])
def test_unet_equals_the_official_one(size, stored, unet_state):
    network = build_unet(unet_state)
    x, lq, t = (torch.from_numpy(stored[f"unet_{name}_{size}"]) for name in ("x", "lq", "t"))
    with torch.no_grad():
        close(network(x, t, lq=lq), stored[f"unet_out_{size}"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_and_wrapping_of_training_are_stripped_and_extra_keys_ignored(prefix, unet_state):
    wrapped = {prefix + key: value for key, value in unet_state.items()}
    wrapped[prefix + "feature_extractor.odd"] = torch.zeros(3)
    network = build_unet({"state_dict": wrapped})
    assert torch.equal(network.out[2].weight, unet_state["out.2.weight"])


def test_a_checkpoint_without_stored_masks_loads(unet_state):
    bare = {k: v for k, v in unet_state.items() if not k.endswith("attn_mask")}
    network = build_unet(facts("small_unet")["config"], bare)
    assert torch.equal(network.out[2].weight, unet_state["out.2.weight"])


def test_a_state_dict_that_does_not_fit_says_which_parameter_is_missing(unet_state, vq_state):
    short = {k: v for k, v in unet_state.items() if k != "time_embed.0.weight"}
    with pytest.raises(ValueError, match=r"time_embed\.0\.weight"):
        build_unet(short)
    with pytest.raises(ValueError, match="ResShift U-Net"):
        build_unet(vq_state)


def test_autoencoder_equals_the_official_one(stored, vq_state):
    network = build_autoencoder(vq_state)
    z = torch.from_numpy(stored["vq_z"])
    with torch.no_grad():
        close(network.encode(torch.from_numpy(stored["vq_in"])), z)
        np.testing.assert_array_equal(network.quantize.indices(z), stored["vq_idx"])
        close(network.decode(z), stored["vq_dec"])
        close(network.decode(z, force_not_quantize=True), stored["vq_dec_noquant"])


@pytest.mark.parametrize("name", SAMPLED)
def test_schedules_have_the_published_coefficients(name):
    published = facts(f"schedule_{name}")
    for schedule in (as_schedule(name), as_schedule(published), as_schedule(published["config"])):
        for ours, theirs in (
            ("sqrt_eta", "sqrt_etas"),
            ("alpha", "alpha"),
            ("posterior_variance", "posterior_variance"),
            ("keep", "posterior_mean_coef1"),
            ("pull", "posterior_mean_coef2"),
        ):
            np.testing.assert_allclose(
                getattr(schedule, ours), published[theirs], rtol=1e-9, atol=1e-12
            )


@pytest.mark.parametrize("name", SAMPLED)
def test_a_whole_sampling_run_with_recorded_noise_equals_the_official_one(
    name, stored, unet_state, vq_state
):
    states = []
    out = sample(
        build_unet(unet_state),
        build_autoencoder(vq_state),
        stored[f"sample_{name}_y0"],
        name,
        stored[f"sample_{name}_noise"],
        trajectory=states,
    )
    for ours, theirs in zip(states, stored[f"sample_{name}_traj"], strict=True):
        close(ours, theirs)
    close(out, stored[f"sample_{name}_out"])


def test_another_schedule_gives_another_image(stored, unet_state, vq_state):
    unet, autoencoder = build_unet(unet_state), build_autoencoder(vq_state)
    y0, noise = stored["sample_bicsr_s4_y0"], stored["sample_bicsr_s4_noise"]
    right, wrong = (sample(unet, autoencoder, y0, name, noise) for name in ("bicsr", "msi_sr"))
    assert (right - wrong).abs().max() > 0.1


def test_noise_of_another_size_is_refused_with_the_expected_shape(stored, unet_state, vq_state):
    with pytest.raises(ValueError, match=r"\(16, 1, 3, 16, 16\)"):
        sample(
            build_unet(unet_state),
            build_autoencoder(vq_state),
            stored["sample_bicsr_s4_y0"],
            "realsr-v1",
            stored["sample_bicsr_s4_noise"],
        )


@pytest.mark.parametrize(
    ("shape", "mode"), [((40, 70), "reflect"), ((32, 70), "replicate"), ((62, 28), "replicate")]
)
def test_small_images_are_padded_by_replication_and_others_by_reflection(shape, mode):
    image = torch.rand(1, 3, *shape)
    padded = pad(image, 64)
    assert all(side % 64 == 0 for side in padded.shape[-2:])
    assert torch.equal(padded[..., : shape[0], : shape[1]], image)
    gap = [0, padded.shape[-1] - shape[1], 0, padded.shape[-2] - shape[0]]
    assert torch.equal(padded, torch.nn.functional.pad(image, gap, mode=mode))


def test_an_image_of_odd_size_comes_back_four_times_as_large(unet_state, vq_state):
    low = torch.rand(1, 3, 13, 7) * 2 - 1
    noise = torch.randn(5, 1, 3, 16, 8)
    out = sample(build_unet(unet_state), build_autoencoder(vq_state), low, "bicsr", noise)
    assert out.shape == (1, 3, 52, 28)


class TestWrongScheduleIsAnErrorNotAWrongImage:
    def test_a_published_name_decides(self):
        assert schedule_for("msi_sr.pth") is SCHEDULES["msi_sr"]
        assert schedule_for("folder/resshift_bicsrx4_s4.pth", "bicsr") is SCHEDULES["bicsr"]

    @pytest.mark.parametrize("stated", ["bicsr", "realsr-v1", "realsr-v3"])
    def test_a_contradiction_is_refused(self, stated):
        with pytest.raises(ScheduleError, match="msi_sr"):
            schedule_for("msi_sr.pth", stated)

    def test_an_unknown_file_needs_a_stated_schedule(self):
        with pytest.raises(ScheduleError, match="must be stated"):
            schedule_for("mine.pth")
        assert schedule_for("mine.pth", "realsr-v2").steps == 15

    def test_the_name_on_disk_is_looked_at_too(self, tmp_path):
        path = tmp_path / "msi_sr.pth"
        path.write_bytes(b"x")
        with pytest.raises(ScheduleError, match="by its name"):
            check_file(path, SCHEDULES["bicsr"])

    def test_a_fine_tuned_file_carries_its_schedule(self, tmp_path):
        path = tmp_path / "mine.safetensors"
        save_file({"w": torch.zeros(1)}, path, metadata={"schedule": "msi_sr"})
        check_file(path, SCHEDULES["msi_sr"])
        with pytest.raises(ScheduleError, match="by its header"):
            check_file(path, SCHEDULES["bicsr"])

    def test_another_diffusion_is_refused(self):
        with pytest.raises(ScheduleError, match="predict_type"):
            as_schedule({"steps": 4, "kappa": 2, "min_noise_level": 0.2, "predict_type": "epsilon"})
