import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from spandrel import ModelLoader
from spandrel.architectures.ESRGAN import ESRGAN

from msibench import MSImage, Problem, Skip
from msibench.cli import _grid
from msibench.cli.finetune import command as finetune_command
from msibench.datasets import load_card
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.plugin_manager import resolve_method
from msibench.plugin_manager.discovery import discover
from msibench.testing import MethodContract
from msibench.testing.mirror import mirrored
from msibench.weights import UnsafeWeightsError, require
from msibench_spandrel import msibench_methods, spec_from_checkpoint
from msibench_spandrel.method import Spandrel, _Square, read_checkpoint
from msibench_spandrel.training import network_for_training

SPECS = {spec.name: spec for spec in msibench_methods()}
REAL = {"spandrel-dctlsa": "sr/DCTLSA_x4.pt", "spandrel-craft": "sr/CRAFT_NTIRE2024_x4.pth"}


def problem(factor=4, rows=20, columns=17):
    values = np.random.default_rng(0).random((2, rows, columns)) * 50
    return Problem(low=MSImage(values, mz=[400.0, 500.0]), factor=factor)


def rrdb_state(scale=4, **kwargs):
    torch.manual_seed(0)
    return ESRGAN(num_filters=8, num_blocks=1, scale=scale, **kwargs).state_dict()


def method_of(path):
    spec = spec_from_checkpoint(path)
    return Spandrel({file.name: require(file) for file in spec.weights}, **spec.config)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt"])
def test_a_checkpoint_becomes_a_method_and_its_record_says_what_it_is(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(rrdb_state(), path)

    spec = spec_from_checkpoint(path)
    method = method_of(path)
    fine = method.upscale(problem())

    assert spec.name == "spandrel:net"
    assert fine.shape == (2, 80, 68)
    assert method.report()["architecture"] == "ESRGAN"
    assert method.report()["weights_sha256"] == spec.weights[0].sha256


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "netG."]
)
def test_prefixes_of_training_do_not_hide_the_architecture(tmp_path, prefix):
    path = tmp_path / "NET.SAFETENSORS"
    save_file({f"{prefix}{name}": tensor for name, tensor in rrdb_state().items()}, path)
    assert method_of(path).upscale(problem()).shape == (2, 80, 68)


def test_the_result_is_spandrels_own(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(rrdb_state(), path)
    image = np.random.default_rng(1).random((12, 9), dtype=np.float32)
    image = (image - image.min()) / np.ptp(image)

    ours = method_of(path).upscale(Problem(low=MSImage(image[None], mz=[400.0]), factor=4))[0]

    descriptor = ModelLoader("cpu").load_from_file(path)
    with torch.inference_mode():  # the bare network: the descriptor's call would also clamp at 1
        theirs = descriptor.model(torch.from_numpy(image).expand(1, 3, -1, -1)).mean(1)[0].numpy()
    np.testing.assert_allclose(ours, np.maximum(theirs, 0), atol=1e-5)


def test_another_factor_is_declined_with_its_own(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(rrdb_state(scale=2), path)

    declined = method_of(path).upscale(problem(factor=4))

    assert isinstance(declined, Skip)
    assert "x2" in declined.reason
    assert "x4" in declined.reason


def test_with_bin_a_network_for_x4_serves_x2_by_averaging_its_image(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(rrdb_state(), path)
    spec = spec_from_checkpoint(path)
    weights = {file.name: require(file) for file in spec.weights}
    method = Spandrel(weights, **{**spec.config, "bin": True})

    twice, four = method.upscale(problem(factor=2)), method.upscale(problem(factor=4))

    binned = four.reshape(2, 40, 2, 34, 2).mean((2, 4))
    np.testing.assert_allclose(twice, binned, atol=1e-4 * binned.max())
    assert isinstance(method.upscale(problem(factor=3)), Skip)


def test_a_back_projected_network_gives_its_input_back(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(rrdb_state(), path)
    weights = {file.name: require(file) for file in spec_from_checkpoint(path).weights}
    given = problem()

    fine = Spandrel(weights, back_project=True).upscale(given)
    plain = Spandrel(weights).upscale(given)

    missed = [
        np.abs(image.reshape(2, 20, 4, 17, 4).mean((2, 4)) - given.low.values)
        for image in (fine, plain)
    ]
    assert missed[0].mean() < missed[1].mean() / 10


def test_networks_for_other_purposes_are_refused(tmp_path):
    path = tmp_path / "denoise.pth"
    torch.save(rrdb_state(scale=1), path)

    with pytest.raises(ConfigurationError, match="not for super-resolution"):
        method_of(path).upscale(problem(factor=1))


def test_channels_that_an_ion_image_cannot_fill_are_refused(tmp_path):
    path = tmp_path / "four.pth"
    torch.save(rrdb_state(in_nc=5, out_nc=5), path)

    with pytest.raises(ConfigurationError, match="5 channels"):
        method_of(path).upscale(problem())


def test_grey_networks_run_on_one_channel(tmp_path):
    path = tmp_path / "grey.pth"
    torch.save(rrdb_state(in_nc=1, out_nc=1), path)

    assert method_of(path).upscale(problem()).shape == (2, 80, 68)


def test_sizes_that_the_network_demands_are_met_and_cropped(tmp_path):
    path = tmp_path / "unshuffle.pth"
    torch.save(rrdb_state(scale=4, in_nc=12, out_nc=3, shuffle_factor=2), path)

    for rows, columns in ((7, 9), (1, 3), (2, 2)):
        fine = method_of(path).upscale(problem(2, rows, columns))
        assert fine.shape == (2, 2 * rows, 2 * columns)


@pytest.mark.parametrize("shape", [(5, 9), (9, 4), (1, 6), (4, 4)])
def test_a_network_that_wants_squares_sees_mirrored_squares(shape):
    seen = []

    def network(x):
        seen.append(x.shape[-2:])
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    x = torch.rand(1, 1, *shape)
    fine = _Square(_Callable(network), 2)(x)

    assert seen == [(max(shape), max(shape))]
    assert torch.equal(fine, x.repeat_interleave(2, -1).repeat_interleave(2, -2))


class _Callable(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path, suffix, zipped):
    target, path = tmp_path / "made", tmp_path / f"net{suffix}"
    hostile = rrdb_state() | {"payload": Payload(target)}
    if zipped:
        torch.save(hostile, path)
    else:
        path.write_bytes(pickle.dumps(hostile, protocol=2))

    with pytest.raises(UnsafeWeightsError):
        method_of(path).upscale(problem())

    assert not target.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_torchscript_is_refused_before_it_is_loaded(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("code would have run"))
    path = tmp_path / f"net{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"net/{name}", b"")

    with pytest.raises(UnsafeWeightsError, match="TorchScript"):
        method_of(path).upscale(problem())


def highest_memory(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_what_a_shape_asks_for_is_not_built(tmp_path):
    """Names of an architecture that is known and absurd widths, in a tiny file: terabytes, if they were believed."""
    path = tmp_path / "net.safetensors"
    save_file({"conv_first.weight": torch.zeros(0, 1 << 20, 3, 3)}, path)
    before = highest_memory(reset=True)

    with pytest.raises(ConfigurationError):
        read_checkpoint(path)

    assert highest_memory() - before < 256


def test_an_unknown_architecture_is_named(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"nothing.weight": torch.zeros(3)}, path)

    with pytest.raises(ConfigurationError, match="does not recognise the architecture"):
        method_of(path).upscale(problem())


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingWeightsError):
        spec_from_checkpoint(tmp_path / "no.pth")


def test_making_a_spec_imports_no_torch(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"anything")
    script = (
        "import sys; from msibench_spandrel import spec_from_checkpoint; "
        f"spec_from_checkpoint({str(path)!r}); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def bicubic(low, factor):
    return torch.nn.functional.interpolate(
        torch.from_numpy(low)[None], scale_factor=factor, mode="bicubic", align_corners=False
    )[0].numpy()


def psnr(test, truth):
    return -10 * np.log10(np.mean((test - truth) ** 2))


@pytest.mark.parametrize("name", REAL)
def test_real_checkpoints_sharpen_what_they_were_trained_for(name):
    """A photograph made small by antialiased bicubic: published gain over bicubic 4 dB (Set5)."""
    path = mirrored(REAL[name])
    with Image.open(mirrored("bladder/HE_rgb.png")) as photograph:
        grey = photograph.convert("L").crop((40, 40, 168, 136))
    low = np.asarray(grey.resize((32, 24), Image.Resampling.BICUBIC), np.float32)[None] / 255
    truth = np.asarray(grey, np.float32)[None] / 255
    method = Spandrel({path.name: path}, **SPECS[name].config)

    fine = method.upscale(Problem(low=MSImage(low, mz=[400.0]), factor=4))

    assert psnr(fine, truth) > psnr(bicubic(low, 4), truth) + 0.2


def test_the_adversarial_network_adds_contrast_and_loses_truth():
    path = mirrored("sr/realesrgan-x4plus.fp16.safetensors")
    section = np.load(mirrored("bladder/bladder.npz"))
    cube = section["cube"][:, 32:80, 64:128]
    strongest = np.argsort(cube.mean((1, 2)))[-2:]
    truth = cube[strongest] / cube[strongest].max((1, 2), keepdims=True)
    low = truth.reshape(2, 12, 4, 16, 4).mean((2, 4))
    spec = SPECS["spandrel-realesrgan"]
    method = Spandrel({path.name: path}, **spec.config)

    fine = method.upscale(Problem(low=MSImage(low, mz=section["mz"][strongest]), factor=4))

    assert method.report()["weights_sha256"] == spec.weights[0].sha256
    assert method.report()["parameters"] == 16_697_987
    assert psnr(fine, truth) < psnr(bicubic(low, 4), truth) - 0.5


def test_the_adversarial_network_serves_twice_finer_by_averaging_its_image(tmp_path):
    spec = SPECS["spandrel-realesrgan-pooled"]
    assert spec.factors == {2}
    assert spec.weights == SPECS["spandrel-realesrgan"].weights
    torch.save(rrdb_state(), tmp_path / "net.pth")
    low = MSImage(np.random.default_rng(0).random((1, 8, 12), np.float32), mz=[400.0])
    files = {"net.pth": tmp_path / "net.pth"}
    whole = Spandrel(files, **SPECS["spandrel-realesrgan"].config).upscale(
        Problem(low=low, factor=4)
    )
    half = Spandrel(files, **spec.config).upscale(Problem(low=low, factor=2))
    assert half.shape == (1, 16, 24)
    np.testing.assert_allclose(half, whole.reshape(1, 16, 2, 24, 2).mean((2, 4)), atol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if "craft" in n else ()) for n in REAL]
)
def test_real_checkpoints_keep_what_is_measured_on_the_bladder_section(name):
    section = np.load(mirrored("bladder/bladder.npz"))
    path = mirrored(REAL[name])
    cube = section["cube"][:, :64, :128]
    strongest = np.argsort(cube.mean((1, 2)))[-4:]
    truth = cube[strongest] / cube[strongest].max((1, 2), keepdims=True)
    low = truth.reshape(4, 16, 4, 32, 4).mean((2, 4))
    method = Spandrel({path.name: path}, **SPECS[name].config)

    fine = method.upscale(Problem(low=MSImage(low, mz=section["mz"][strongest]), factor=4))

    again = fine.reshape(4, 16, 4, 32, 4).mean((2, 4))
    assert method.report()["weights_sha256"] == SPECS[name].weights[0].sha256
    assert np.abs(again - low).mean() < 0.03  # averaging the fine pixels gives the coarse ones back
    # Ion images are noisy and area-averaged, photographs are neither: no gain is promised here.
    assert psnr(fine, truth) > psnr(bicubic(low, 4), truth) - 0.5


class TestSpandrelContract(MethodContract):
    spec = SPECS["spandrel-craft"]

    @pytest.fixture(autouse=True)
    def _tiny_checkpoint(self, tmp_path):
        torch.save(rrdb_state(), tmp_path / "net.pth")
        type(self).spec = spec_from_checkpoint(tmp_path / "net.pth")
        type(self).spec = replace(self.spec, factors=frozenset({4}))


@pytest.mark.slow
class TestCRAFTContract(MethodContract):
    spec = SPECS["spandrel-craft"]

    @pytest.fixture(autouse=True)
    def _needs_the_file(self):
        mirrored(REAL["spandrel-craft"])


def small_checkpoint(folder, name, **changes):
    """A tiny RRDBNet, or a network of windows that takes multiples of 8 alone."""
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    if name == "rrdb":
        save_file(rrdb_state(**changes), path)
    else:
        from spandrel.architectures.SwinIR import SwinIR

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the architecture, as it is built
            network = SwinIR(
                img_size=16, window_size=8, depths=[1], embed_dim=12, num_heads=[2], mlp_ratio=2,
                upscale=4, in_chans=3, upsampler="pixelshuffledirect", img_range=1.0, resi_connection="1conv",
            )  # fmt: skip
        save_file(network.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["rrdb", "swinir"])
def test_any_network_is_fine_tuned_and_comes_back_as_a_method(tmp_path, monkeypatch, name):
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
    path = small_checkpoint(tmp_path, name)
    out = tmp_path / "tuned"
    arguments = [
        "finetune", f"spandrel:{path}", "--dataset", "phantom", "--sections", "synthetic-11",
        "--validation", "synthetic-12", "--iterations", "3", "--patch", "9", "--batch", "2",
        "--train", "lr=0.001", "--out", str(out),
    ]  # fmt: skip
    done = CliRunner().invoke(finetune_command, arguments[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output

    catalogue = discover()
    spec = resolve_method(str(out), catalogue)
    assert spec.name == f"spandrel:{path.stem}@finetuned-tuned"
    assert spec.training_data == ("phantom/synthetic-11",)
    weights = {file.name: require(file) for file in spec.weights}
    tuned = Spandrel(weights, **spec.config)
    before = method_of(path).upscale(problem())
    after = tuned.upscale(problem())
    assert after.shape == before.shape
    assert np.abs(after - before).max() > 1e-4
    assert tuned.report()["architecture"] == method_of_report(path)["architecture"], (
        "the trained file is recognised as the same architecture"
    )
    twin = resolve_method(f"{out}+consistent", catalogue)
    assert twin.name == f"{spec.name}+consistent"
    assert planned_beside_trainings(monkeypatch, path, tmp_path, catalogue) == {
        spec.name, f"spandrel:{path.stem}", "bicubic", "spandrel:other", "nearest+consistent",
    }  # fmt: skip


def planned_beside_trainings(monkeypatch, path, out, catalogue):
    """Return the methods that the ranking of a grid would run; it ends before the first."""
    planned = []

    def end(plan, *_):
        planned.extend(cell.spec.name for cell in plan.cells)
        raise KeyboardInterrupt

    monkeypatch.setattr(_grid, "_run", end)
    other = path.rename(path.with_name("other.safetensors"))
    path.write_bytes(other.read_bytes())
    start = resolve_method(f"spandrel:{path}", catalogue)
    asked = _grid.GridEvaluation(beside=(f"spandrel:{other}", "nearest+consistent"))
    with pytest.raises(KeyboardInterrupt):
        _grid.evaluate_grid(
            start, out, catalogue, lambda name: load_card(catalogue.dataset(name)), asked=asked
        )
    return set(planned)


def method_of_report(path):
    method = method_of(path)
    method.upscale(problem())
    return method.report()


def test_half_precision_starts_in_single_and_every_parameter_moves(tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: value.half() for name, value in rrdb_state().items()}, path)
    network = network_for_training({}, factor=4, weights={"half": path})
    assert all(p.dtype == torch.float32 and p.requires_grad for p in network.parameters())
    assert network.training


def test_what_cannot_be_trained_says_why(tmp_path):
    path = small_checkpoint(tmp_path, "rrdb", scale=2)
    with pytest.raises(ConfigurationError, match=r"for x2; --factor asks for x4"):
        network_for_training({}, factor=4, weights={"net": path})
    with pytest.raises(MissingWeightsError, match="trained from its checkpoint"):
        network_for_training({}, factor=4, weights=None)


def test_the_adversarial_network_can_be_fine_tuned():
    path = mirrored("sr/realesrgan-x4plus.fp16.safetensors")
    network = network_for_training({}, factor=4, weights={path.name: path})
    assert sum(p.numel() for p in network.parameters()) == 16_697_987
