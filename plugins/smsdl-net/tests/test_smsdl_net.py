import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from msibench import GuideImage, MSImage, Problem, Skip
from msibench.testing import MethodContract
from msibench.testing.mirror import mirrored
from msibench.training.ions import scale_ions
from msibench_smsdl_net import QUICK, SPEC
from msibench_smsdl_net.config import QUICK_BUDGET, SOURCES, SmsdlConfig
from msibench_smsdl_net.dense_features import DenseFeatures, TokenMap, token_maps
from msibench_smsdl_net.method import SMSDLNet
from msibench_smsdl_net.network import MultiBranchViT, Regression
from msibench_smsdl_net.regression import fit_regression, footprint, footprint_loss
from msibench_smsdl_net.self_distillation import Crops, distillation_loss, learn_features

TINY = {
    **QUICK_BUDGET,
    "dim": 4,
    "heads": 1,
    "depth": 1,
    "global_crop": 32,
    "local_crop": 16,
    "local_crops": 1,
    "prototypes": 8,
    "features_steps": 2,
    "features_batch": 2,
    "hidden": (6,),
    "regression_steps": 4,
}


def section(channels=2, factor=4, guide_channels=3, rows=10, columns=9, seed=0):
    """Ions that follow the guide's colours, on a grid that is not square."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: rows * factor, : columns * factor]
    disc = ((y - 19) ** 2 + (x - 15) ** 2 < 120).astype(np.float32)
    guide = np.stack([disc, 1 - disc, 0.5 * disc + 0.1 * rng.random(disc.shape), disc])
    fine = np.stack([disc * 100, (1 - disc) * 40, disc * 7])[:channels]
    low = fine.reshape(channels, rows, factor, columns, factor).mean((2, 4))
    return Problem(
        low=MSImage(low, np.arange(channels) + 300.0),
        factor=factor,
        guide=GuideImage(guide[:guide_channels].astype(np.float32)),
    )


def test_branches_of_all_patch_sizes_are_joined():
    vit = MultiBranchViT((4, 8, 16), 32, 6, 2, 2)
    assert vit(torch.rand(3, 3, 32, 32)).shape == (3, 18)
    assert vit(torch.rand(3, 3, 16, 16)).shape == (3, 18)  # a local crop
    shapes = [branch(torch.rand(1, 3, 32, 32))[1].shape[-2:] for branch in vit.branches]
    assert [tuple(shape) for shape in shapes] == [(8, 8), (4, 4), (2, 2)]


@pytest.mark.parametrize("shape", [(40, 36), (32, 32), (7, 70)])
@pytest.mark.parametrize("shifts", [1, 2])
def test_every_token_stands_where_its_patch_has_its_centre(shape, shifts):
    vit = MultiBranchViT((4, 8), 32, 3, 1, 1)
    y, x = (torch.as_tensor(axis, dtype=torch.float32) for axis in np.mgrid[: shape[0], : shape[1]])
    image = torch.stack((y, x, y * 0))
    for branch in vit.branches:  # a transformer that only averages its patch
        branch.blocks = torch.nn.ModuleList()
        branch.norm = torch.nn.Identity()
        torch.nn.init.zeros_(branch.position)
        with torch.no_grad():
            branch.embed.bias.zero_()
            weight = torch.eye(3)[:, :, None, None].expand_as(branch.embed.weight)
            branch.embed.weight.copy_(weight / branch.patch**2)
    for tokens in token_maps(vit, image, shifts):
        lattice = tokens.first + tokens.spacing * torch.arange(tokens.values.shape[1])
        patch = tokens.spacing * shifts
        inside = lattice + (patch - 1) / 2 <= shape[0] - 1
        expected = lattice[inside]
        seen = tokens.values[0, inside, 0]
        # The map is standardised: compare up to shift and spread.
        if len(expected) > 1:
            slopes = (seen[1:] - seen[:-1]) / (expected[1:] - expected[:-1])
            torch.testing.assert_close(slopes, slopes[:1].expand_as(slopes), rtol=1e-3, atol=1e-4)
        at = tokens.at(expected, torch.full_like(expected, tokens.first))[:, 0]
        torch.testing.assert_close(at, seen, rtol=1e-4, atol=1e-4)


def test_features_between_tokens_are_interpolated_and_held_at_the_border():
    tokens = TokenMap(torch.tensor([[[0.0, 2.0], [4.0, 6.0]]]), 1.5, 4.0)
    rows = torch.tensor([1.5, 3.5, 0.0, 7.0])
    columns = torch.tensor([1.5, 1.5, 0.0, 7.0])
    torch.testing.assert_close(tokens.at(rows, columns)[:, 0], torch.tensor([0.0, 2.0, 0.0, 6.0]))


def test_the_distillation_loss_follows_its_definition():
    config = SmsdlConfig(prototypes=5)
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(3, 4, 5)), rng.normal(size=(2, 4, 5))
    centre = rng.normal(size=5)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    pairs = [
        -(softmax((teacher[i] - centre) / 0.04) * np.log(softmax(student[j] / 0.1))).sum(1).mean()
        for i in range(2)
        for j in range(3)
        if i != j
    ]
    loss = distillation_loss(
        [torch.from_numpy(view) for view in student],
        [torch.from_numpy(view) for view in teacher],
        torch.from_numpy(centre),
        config,
    )
    assert loss.item() == pytest.approx(np.mean(pairs))


def test_the_teacher_follows_the_student_slowly_and_does_not_collapse():
    image = torch.from_numpy(section(rows=20, columns=18).guide.values)
    torch.manual_seed(0)
    settings = {**TINY, "features_steps": 20, "features_batch": 6, "teacher_momentum": 0.9}
    config = SmsdlConfig(**settings)
    start = MultiBranchViT(config.patch_sizes, 32, config.dim, config.depth, config.heads)

    torch.manual_seed(0)
    teacher, curves = learn_features(image, config, torch.Generator().manual_seed(0))

    before = torch.cat([p.detach().flatten() for p in start.parameters()])
    after = torch.cat([p.detach().flatten() for p in teacher.parameters()])
    assert 0 < (after - before).norm() < 0.5 * before.norm()
    assert len(curves.loss) == 20
    assert 0.3 < curves.teacher_entropy[-1] <= math.log(8) + 1e-6


def test_a_teacher_of_momentum_one_never_moves():
    image = torch.rand(3, 40, 36, generator=torch.Generator().manual_seed(0))
    config = SmsdlConfig(**{**TINY, "teacher_momentum": 1.0})
    torch.manual_seed(3)
    start = MultiBranchViT(config.patch_sizes, 32, config.dim, config.depth, config.heads)
    torch.manual_seed(3)
    teacher, _ = learn_features(image, config, torch.Generator())
    for ours, theirs in zip(teacher.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [16, 32])
def test_crops_have_their_size_and_stay_inside_the_image(size):
    image = torch.full((3, 33, 40), 0.5)
    crops = Crops(image, torch.Generator().manual_seed(0))
    for _ in range(20):
        view = crops.draw(crops.place(), size, 0.6)
        assert view.shape == (3, size, size)
        assert view.std(dim=(1, 2)).max() < 1e-5  # nothing but the image's one colour


def test_the_footprint_of_an_msi_pixel_is_its_block_of_fine_pixels():
    rows, columns = footprint(torch.tensor([0, 4]), columns=3, factor=2)
    assert rows.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert columns.tolist() == [[0, 1, 0, 1], [2, 3, 2, 3]]


def test_the_regression_is_judged_by_the_mean_over_the_footprint():
    problem = section()
    image = scale_ions(problem.low).values[0]
    features = DenseFeatures((), torch.from_numpy(problem.guide.values))
    torch.manual_seed(0)
    model = Regression(3, (5,))
    pixels = torch.tensor([3, 40, 41, 89])
    loss = footprint_loss(model, features, torch.from_numpy(image.flatten()), pixels, 9, 4)

    with torch.no_grad():
        fine = model(torch.from_numpy(problem.guide.values).flatten(1).T).numpy()
    mean = fine.reshape(10, 4, 9, 4).mean((1, 3))
    difference = ((mean - image) ** 2).flatten()[pixels.numpy()]
    assert loss.item() == pytest.approx(difference.mean(), rel=1e-4)


def test_the_regression_finds_ions_that_are_a_function_of_the_features():
    problem = section()
    features = DenseFeatures((), torch.from_numpy(problem.guide.values))
    config = SmsdlConfig(**{**TINY, "hidden": (16,), "regression_steps": 300})
    ions = scale_ions(problem.low)
    torch.manual_seed(0)
    curve = fit_regression(
        features,
        ions.values[1],
        ions.known[1],
        4,
        config,
        Regression(3, (16,)),
        torch.Generator().manual_seed(0),
    )
    assert np.mean(curve[-10:]) < 0.02 * curve[0]


def test_detail_inside_the_msi_pixels_is_found():
    problem = section(channels=1)
    fine = SMSDLNet(**{**TINY, "hidden": (16,), "regression_steps": 300}).upscale(problem)[0]
    disc = problem.guide.values[0]
    nearest = np.kron(problem.low.values[0], np.ones((4, 4)))
    ours, theirs = (np.sqrt(((image / 100 - disc) ** 2).mean()) for image in (fine, nearest))
    assert ours < 0.5 * theirs


@pytest.mark.parametrize("guide_channels", [1, 2, 3, 4])
def test_output_is_finite_never_negative_and_reported(guide_channels):
    method = SMSDLNet(**TINY)
    fine = method.upscale(section(guide_channels=guide_channels))
    assert fine.shape == (2, 40, 36)
    assert fine.dtype == np.float32
    assert np.isfinite(fine).all()
    assert (fine >= 0).all()
    report = method.report()
    json.dumps(report)
    assert report["features"] == 3 * 4 + 3
    assert len(report["distillation"]["value"]) == 2
    assert [len(curve["value"]) for curve in report["curves"]] == [4, 4]


@pytest.mark.parametrize(
    ("rows", "columns", "factor"), [(1, 1, 2), (3, 13, 3), (2, 1, 20), (5, 4, 1)]
)
def test_sections_of_any_size_and_factor_are_taken(rows, columns, factor):
    rng = np.random.default_rng(0)
    problem = Problem(
        low=MSImage(rng.random((2, rows, columns)), [1.0, 2.0]),
        factor=factor,
        guide=GuideImage(rng.random((3, rows * factor, columns * factor))),
    )
    assert SMSDLNet(**TINY).upscale(problem).shape == (2, rows * factor, columns * factor)


def test_holes_empty_and_constant_ions_come_back_finite():
    problem = section(3)
    values = problem.low.values.copy()
    values[0, 2:5, 1:4] = np.nan
    values[1], values[2] = 0, 7
    method = SMSDLNet(**TINY)

    fine = method.upscale(dataclasses.replace(problem, low=MSImage(values, problem.low.mz)))

    assert np.isfinite(fine).all()
    assert (fine[1] == 0).all()
    nothing = MSImage(np.full_like(values, np.nan), problem.low.mz)
    assert (method.upscale(dataclasses.replace(problem, low=nothing)) == 0).all()


def test_a_guide_without_content_gives_something_finite():
    problem = section()
    flat = GuideImage(np.zeros((3, 40, 36), np.float32))
    fine = SMSDLNet(**TINY).upscale(dataclasses.replace(problem, guide=flat))
    assert np.isfinite(fine).all()


def test_the_same_seed_gives_the_same_bytes_with_one_thread_or_two():
    problem = section()
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(SMSDLNet(**TINY).upscale(problem).tobytes())
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]
    other = SMSDLNet(**TINY).upscale(dataclasses.replace(problem, seed=5))
    assert other.tobytes() != results[0]


def test_the_guide_is_bent_onto_the_ions_if_that_is_asked_for():
    pytest.importorskip("SimpleITK", reason="the registration step needs SimpleITK")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:112, :96]
    texture = ndimage.gaussian_filter(rng.random((112, 96)), 4)
    texture = (texture - texture.min()) / np.ptp(texture)
    tissue = ((y - 56) / 45) ** 2 + ((x - 48) / 36) ** 2 < 1
    truth = tissue * (0.3 + 0.7 * texture)
    # Tissue is dark on a white slide, three fine pixels too low and two too far left.
    slide = 1 - 0.8 * ndimage.shift(truth, (3, -2), order=1)
    problem = Problem(
        low=MSImage(truth.reshape(56, 2, 48, 2).mean((1, 3))[None], [500.0]),
        factor=2,
        guide=GuideImage(np.repeat(slide[None], 3, 0)),
    )
    method = SMSDLNet(**{**TINY, "registration": "bspline"})

    guide = method._registered(problem)

    before, after = (
        np.corrcoef(image.ravel(), truth.ravel())[0, 1] for image in (slide, guide.values[0])
    )
    assert guide.shape == (112, 96)
    assert before > -0.92
    assert after < -0.98


def test_a_guide_that_registration_refuses_is_a_reason_not_to_run():
    pytest.importorskip("SimpleITK", reason="the registration step needs SimpleITK")
    problem = section()
    flat = GuideImage(np.full((3, 40, 36), 0.5, np.float32))
    method = SMSDLNet(**{**TINY, "registration": "bspline"})
    result = method.upscale(dataclasses.replace(problem, guide=flat))
    assert isinstance(result, Skip)
    assert "needs a guide that can be registered" in result.reason


def test_without_a_guide_or_without_tissue_it_says_why_it_does_not_run():
    problem = section()
    assert "needs a guide" in SMSDLNet().upscale(dataclasses.replace(problem, guide=None)).reason
    empty = MSImage(problem.low.values, problem.low.mz, mask=np.zeros((10, 9), bool))
    assert isinstance(SMSDLNet().upscale(dataclasses.replace(problem, low=empty)), Skip)


def test_bladder_tissue_is_fused_in_a_short_run():
    cube = np.load(mirrored("bladder/bladder.npz"))["cube"][:3, 40:88, 100:160]
    low = cube.reshape(3, 12, 4, 15, 4).mean((2, 4))
    guide = np.repeat(cube.sum(0, keepdims=True), 3, 0)
    problem = Problem(
        low=MSImage(low, np.arange(3) + 400.0), factor=4, guide=GuideImage(guide / guide.max())
    )
    assert SMSDLNet(**TINY).upscale(problem).shape == (3, 48, 60)


@pytest.mark.parametrize("spec", [SPEC, QUICK], ids=lambda spec: spec.name)
def test_every_hyper_parameter_has_a_source_and_the_title_says_what_it_is(spec):
    assert set(spec.config) == set(spec.sources) == set(SOURCES)
    assert "reimplementation from the abstract" in spec.title
    SMSDLNet(**spec.config)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": 10, "heads": 3}, "multiple of twice heads"),
        ({"global_crop": 40}, "multiples of every patch size"),
        ({"shifts": 3}, "multiples of shifts"),
        ({"features_steps": -1}, "must not be negative"),
        ({"hidden": (0,)}, "at least 1"),
        ({"patch_sizes": ()}, "at least one branch"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        SMSDLNet(**change)


def test_the_plugin_is_found_without_torch():
    script = "import sys, msibench_smsdl_net; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class TestSmsdlNetContract(MethodContract):
    spec = SPEC
    config = TINY
