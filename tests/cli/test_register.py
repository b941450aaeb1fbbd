"""``msibench register``: what it writes, and what it refuses to write."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage

from msibench.cli.register import command
from msibench.errors import ConfigurationError, RegistrationError
from msibench.image import GuideImage
from msibench.registration import Affine, QualityReport, Transform, resample

KNOWN = Affine([[2.0, 0.05], [-0.05, 2.0]], [2.0, 3.0])
SHAPE = (40, 56)


@pytest.fixture
def files(tmp_path):
    """A stained slide, the section under it, and landmarks on both."""
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((90, 124)), 3)
    texture = (texture - texture.min()) / np.ptp(texture)
    row, column = np.indices(texture.shape)
    inside = ((row / 90 - 0.45) / 0.38) ** 2 + ((column / 124 - 0.45) / 0.38) ** 2 < 1
    slide = 1 - (0.3 + 0.5 * texture) * inside
    rgb = np.repeat(np.round(255 * slide)[..., None], 3, axis=2).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "HE.png")
    seen = resample(GuideImage(slide[None].astype(np.float32), kind="msi"), KNOWN, SHAPE, fill=1)
    cube = np.stack([1 - seen.values[0], (1 - seen.values[0]) ** 2])
    np.savez(tmp_path / "section.npz", cube=cube.astype(np.float32), mz=[500.0, 600.0])
    start = KNOWN @ Affine.about((20, 28), degrees=2, shift=[1, -1])
    start.to_file(tmp_path / "start.json")
    fixed = np.random.default_rng(1).uniform(5, 35, (8, 2))
    moving = KNOWN(fixed)
    lines = [
        f'"Pt-{i}","true","{m[1]}","{m[0]}","{f[1]}","{f[0]}"'
        for i, (m, f) in enumerate(zip(moving, fixed, strict=True))
    ]
    (tmp_path / "marks.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(folder, *options):
    arguments = [str(folder / "HE.png"), str(folder / "section.npz"), "-o", str(folder / "t.json")]
    given = [str(folder / word) if (folder / word).exists() else word for word in options]
    return CliRunner().invoke(command, arguments + given, catch_exceptions=False)


def worst(folder):
    points = np.random.default_rng(2).uniform(0, 40, (50, 2))
    found = Transform.from_file(folder / "t.json")
    return np.linalg.norm(found(points) - KNOWN(points), axis=1).max()


def test_it_registers_by_the_images_and_writes_transform_report_and_overlay(files):
    overlay = str(files / "check.png")
    done = run(files, "--model", "rigid", "--start", "start.json", "--overlay", overlay)
    assert done.exit_code == 0
    assert "mutual information" in done.output
    assert worst(files) < 0.5
    document = json.loads((files / "t.json").read_text())
    assert document["quality"]["accepted"] is True
    assert document["guide"] == "HE.png"
    assert document["section_shape"] == list(SHAPE)
    with Image.open(overlay) as picture:
        assert picture.size[0] == 14 * 56
        assert picture.size[1] > 14 * 40, "the error stands below"
        below = np.asarray(picture.convert("L"))[14 * 40 :]
        assert below.min() < 80
        assert below.max() == 255


def test_the_overlay_shows_nothing_of_the_guide_where_there_is_none(files):
    half = KNOWN @ Affine.about((20, 28), degrees=0, shift=[0, 28])
    half.to_file(files / "half.json")
    overlay = files / "check.png"
    done = run(files, "--start", "half.json", "--overlay", str(overlay), "--accept-registration")
    assert done.exit_code == 0, done.output
    transform = Transform.from_file(files / "t.json")
    points = transform(np.stack(np.indices(SHAPE), axis=-1).astype(float))
    off = ((points < -1) | (points > np.array([90, 124]))).any(axis=-1)
    assert 0.2 < off.mean() < 0.8
    with Image.open(overlay) as picture:
        red = np.asarray(picture)[: 14 * SHAPE[0] : 14, : 14 * SHAPE[1] : 14, 0]
    assert red[off].max() == 0
    assert red[~off].max() == 255


def test_an_error_is_told_in_micrometres_where_pixels_have_a_size():
    said = {
        "mutual_information_before": 0.1, "mutual_information_after": 0.4,
        "mutual_information_chance": 0.1, "overlap": 1.0, "folding": 0.0,
    }  # fmt: skip
    report = QualityReport(**said, target_errors=(1.0, 2.0, 6.0))
    assert report.error_text(10.0) == (
        "error 20 µm (median), 60 µm at most, at 3 held-out landmarks"
    )
    assert "2 pixels (median)" in report.error_text(float("nan"))
    assert "not measured" in QualityReport(**said).error_text(10.0)


def test_landmarks_make_a_thin_plate_with_their_leave_one_out_error(files):
    done = run(files, "--landmarks", "marks.csv", "--held-out", "marks.csv")
    assert done.exit_code == 0
    assert "leave-one-out error" in done.output
    assert "held-out error" in done.output
    assert worst(files) < 1e-6


def test_a_transform_at_hand_is_measured_and_kept(files):
    KNOWN.to_file(files / "known.json")
    done = run(files, "--start", "known.json")
    assert done.exit_code == 0
    assert json.loads((files / "t.json").read_text())["model"] == "given"
    assert worst(files) < 1e-9


def test_a_bad_registration_writes_nothing_unless_it_is_accepted(files):
    noise = np.random.default_rng(4).random((2, *SHAPE), dtype=np.float32)
    np.savez(files / "section.npz", cube=noise, mz=[500.0, 600.0])
    with pytest.raises(RegistrationError, match="not accepted, no transform written"):
        run(files, "--start", "start.json", "--model", "rigid")
    assert not (files / "t.json").exists()
    done = run(files, "--start", "start.json", "--model", "rigid", "--accept-registration")
    assert "NOT ACCEPTED" in done.output
    assert json.loads((files / "t.json").read_text())["accepted_by_hand"] is True


def test_a_model_that_does_not_fit_its_source_is_refused(files):
    with pytest.raises(ConfigurationError, match="needs --landmarks"):
        run(files, "--model", "thin-plate")
    with pytest.raises(ConfigurationError, match="fitted to the images"):
        run(files, "--model", "bspline", "--landmarks", "marks.csv")
