"""What is written is read back by us, and by the libraries that others use."""

import hashlib
import itertools
import json
import re
import uuid
import warnings
from typing import ClassVar

import h5py
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.axes import Axes
from PIL import Image
from pyimzml.ImzMLParser import ImzMLParser, getionimage

from msibench.errors import ConfigurationError, DataError, MSIBenchError, SchemaError, StoreError
from msibench.image import MSImage
from msibench.io import (
    open_imzml,
    read_hdf5,
    read_section,
    validate_hdf5,
    write_hdf5,
    write_image,
    write_imzml,
    write_ome_tiff,
)
from msibench.io.figure import hotspot_limit, scale_bar_um
from msibench.io.imzml.writer import ArrayFormat, ImzMLWriter
from msibench.io.ome_tiff import TILE, _level_shapes, pack_mask, unpack_mask


def read_provenance(path):
    with h5py.File(path) as file:
        return json.loads(file.attrs["provenance"])


def section(seed=0, shape=(7, 11), channels=3, **facts):
    rng = np.random.default_rng(seed)
    mask = np.ones(shape, dtype=bool)
    mask[0, :3] = mask[-1] = False
    values = rng.gamma(0.5, 100, (channels, *shape)).astype(np.float32) * mask
    mz = np.array([798.541012345, 298.07, 741.530567])[:channels]
    return MSImage(values, mz, **{"pixel_size_um": 12.5, "mask": mask, "ppm": 5.0, **facts})


def same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.mz, other.mz)
    assert one.pixel_size_um == pytest.approx(other.pixel_size_um, nan_ok=True)
    assert one.unit == other.unit
    assert one.ppm == other.ppm
    if other.mask is None:
        assert one.mask is None
    else:
        np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".ome.tif", ".OME.TIFF", ".tif"])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"mask": None, "ppm": None},
        {"pixel_size_um": float("nan"), "unit": "counts"},
        {"channels": 1},
        {"shape": (300, 310)},
    ],
    ids=["all facts", "few facts", "no pixel size", "one channel", "a pyramid"],
)
def test_a_section_survives_every_lossless_format(tmp_path, suffix, facts):
    image = section(**facts)
    written = write_image(tmp_path / f"a{suffix}", image, provenance={"made": "here"})
    same(read_section(written[0]), image)


def test_channels_without_mz_survive_where_the_format_can_hold_them(tmp_path):
    image = MSImage(np.ones((2, 3, 4), np.float32), np.array([np.nan, 500.0]))
    for suffix in (".h5", ".npz", ".ome.tif"):
        found = read_section(write_image(tmp_path / f"a{suffix}", image)[0])
        np.testing.assert_array_equal(found.mz, image.mz)
    with pytest.raises(ConfigurationError, match="needs the m/z of every channel"):
        write_image(tmp_path / "a.imzML", image)


@pytest.mark.parametrize("mode", ["continuous", "processed"])
def test_imzml_is_read_back_by_us_and_by_pyimzml(tmp_path, mode):
    image = section()
    provenance = {"method": 'bicubic "quoted" <&>', "µ": 1}
    write_imzml(
        tmp_path / "a.imzML", image, mode=mode, polarity="negative", predicted="bicubic",
        provenance=provenance,
    )  # fmt: skip
    found = open_imzml(tmp_path / "a.imzML", verify=True)
    assert (found.mode, found.polarity, found.spectrum_mode) == (mode, "negative", "centroid")
    assert found.pixel_size_um == 12.5
    assert found.shape == image.shape  # the border that the mask leaves out is kept
    np.testing.assert_array_equal(found.mask, image.mask)
    np.testing.assert_array_equal(found.ion_images(image.mz, ppm=0).values, image.values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parser = ImzMLParser(str(tmp_path / "a.imzML"))
    with parser:
        facts = parser.imzmldict
        assert (facts["pixel size x"], facts["pixel size y"]) == (12.5, 12.5)
        assert (facts["max count of pixels x"], facts["max count of pixels y"]) == (11, 7)
        assert parser.polarity == "negative"
        assert min(x for x, _, _ in parser.coordinates) == 1
        assert len(parser.coordinates) == image.mask.sum()
        peer = np.stack([getionimage(parser, mz, tol=1e-6) for mz in image.mz])
        if (
            mode == "continuous"
        ):  # pyimzML issue 19: a processed spectrum lights up beside its range
            np.testing.assert_array_equal(peer.astype(np.float32), image.values)
    text = (tmp_path / "a.imzML").read_text()
    assert 'name="predicted intensities" value="bicubic"' in text
    assert text.count('unitAccession="UO:0000017"') == 4
    stored = re.search(r'name="msibench:provenance" value=(["\'])(.*?)\1/>', text)
    assert (
        json.loads(
            stored[2]
            .replace("&quot;", '"')
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
        )
        == provenance
    )


def test_a_continuous_export_opens_with_all_its_channels(tmp_path):
    image = section()
    write_image(tmp_path / "a.imzML", image)
    found = read_section(tmp_path / "a.imzML")
    order = np.argsort(image.mz)
    np.testing.assert_array_equal(found.mz, image.mz[order])
    np.testing.assert_array_equal(found.values, image.values[order])


def test_the_same_section_gives_the_same_bytes(tmp_path):
    image = section()
    for suffix in (".h5", ".ome.tif", ".png"):
        digests = set()
        for number in range(2):
            path = tmp_path / f"{number}" / f"a{suffix}"
            path.parent.mkdir(exist_ok=True)
            write_image(path, image.select([0]), provenance={"a": 1})
            digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        assert len(digests) == 1, suffix
    names = []
    for number in range(2):
        write_imzml(tmp_path / f"{number}.imzML", image, identifier=uuid.UUID(int=7))
        names.append(
            (tmp_path / f"{number}.imzML").read_bytes() + (tmp_path / f"{number}.ibd").read_bytes()
        )
    assert names[0] == names[1]


def test_an_ome_tiff_says_axes_channels_and_scale(tmp_path):
    image = section(shape=(520, 530))
    write_ome_tiff(tmp_path / "a.ome.tif", image, provenance={"from": "x"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        series = file.series[0]
        assert (series.axes, series.shape, series.dtype) == ("CYX", (3, 520, 530), np.float32)
        assert [level.shape[1:] for level in series.levels] == [(520, 530), (260, 265), (130, 132)]
        assert file.pages[0].is_tiled
        np.testing.assert_array_equal(series.asarray(), image.values)
        facts = tifffile.xml2dict(file.ome_metadata)["OME"]
        pixels = facts["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (12.5, "µm")
        assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == (12.5, "µm")
        names = [channel["Name"] for channel in pixels["Channel"]]
        assert names == ["m/z 798.5410", "m/z 298.0700", "m/z 741.5306"]
        note = facts["StructuredAnnotations"]["CommentAnnotation"]
        assert json.loads(note["Value"])["provenance"] == {"from": "x"}


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_packed_mask_is_the_mask(mask):
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)
    with pytest.raises(ValueError, match="bytes"):
        unpack_mask(pack_mask(mask), (mask.shape[0] + 16, mask.shape[1]))


class TestFigure:
    def test_says_which_method_made_it(self, tmp_path, monkeypatch):
        titles = []
        monkeypatch.setattr(Axes, "set_title", lambda _, text, **__: titles.append(text))
        write_image(tmp_path / "a.png", section().select([0]), predicted="sharpest")
        write_image(tmp_path / "b.png", section().select([0]))
        assert titles[0] == f"{titles[1]}, by sharpest"

    def test_is_a_png_a_channel_with_its_provenance(self, tmp_path):
        written = write_image(tmp_path / "a.png", section(), provenance={"k": 1}, predicted="x")
        assert [path.name for path in written] == [
            "a_mz798.5410.png", "a_mz298.0700.png", "a_mz741.5306.png",
        ]  # fmt: skip
        with Image.open(written[0]) as picture:
            assert json.loads(picture.text["msibench:provenance"]) == {"k": 1, "predicted_by": "x"}
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50

    @pytest.mark.parametrize("values", [0.0, np.nan, 3.0])
    def test_is_drawn_of_constant_and_unknown_images(self, tmp_path, values):
        image = MSImage(np.full((1, 4, 5), values, np.float32), np.array([500.0]))
        assert write_image(tmp_path / "a.png", image)[0].exists()

    def test_clips_by_the_pixels_that_hold_signal(self):
        image = np.zeros((10, 10), np.float32)
        image[0] = np.arange(1, 11)
        assert hotspot_limit(image, 0.5) == pytest.approx(5.5)
        assert hotspot_limit(np.zeros((3, 4), np.float32)) == 0

    @given(st.floats(1e-2, 1e7))
    def test_scale_bar_is_round_and_fits(self, width):
        length = scale_bar_um(width)
        assert width / 10 * (1 - 1e-6) <= length <= width / 4 * (1 + 1e-6)
        assert f"{length:.6e}"[:1] in "125"


class TestHDF5:
    def test_keeps_provenance(self, tmp_path):
        write_hdf5(tmp_path / "a.h5", section(), provenance={"ppm": 5, "list": [1, 2]})
        assert read_provenance(tmp_path / "a.h5") == {"ppm": 5, "list": [1, 2]}
        assert validate_hdf5(tmp_path / "a.h5") == ()

    def change(self, tmp_path, change):
        import h5py

        path = write_hdf5(tmp_path / "a.h5", section())
        with h5py.File(path, "r+") as file:
            change(file, h5py)
        return path

    BROKEN: ClassVar = {
        "no images": (lambda f, h: f.__delitem__("images"), "no dataset /images"),
        "no mz": (lambda f, h: f.__delitem__("mz"), "no dataset /mz"),
        "mz of another length": (
            lambda f, h: (f.__delitem__("mz"), f.create_dataset("mz", data=[1.0])),
            "should hold 3 numbers",
        ),
        "mask of another shape": (
            lambda f, h: (
                f.__delitem__("mask"),
                f.create_dataset("mask", data=np.ones((2, 2), "u1")),
            ),
            r"/mask should be uint8 \(7, 11\)",
        ),
        "text for images": (
            lambda f, h: (
                f.__delitem__("images"),
                f.create_dataset("images", data=np.full((1, 1, 1), b"x")),
            ),
            "should be float32",
        ),
        "an external link": (
            lambda f, h: (
                f.__delitem__("mz"),
                f.__setitem__("mz", h.ExternalLink("/etc/x.h5", "/mz")),
            ),
            "link to another place",
        ),
        "external storage": (
            lambda f, h: (
                f.__delitem__("mz"),
                f.create_dataset("mz", (3,), "f8", external=[("/etc/passwd", 0, 24)]),
            ),
            "from other files",
        ),
        "a huge empty set": (
            lambda f, h: (
                f.__delitem__("images"),
                f.create_dataset("images", (3, 10**6, 10**6), "f4", chunks=(1, 64, 64)),
            ),
            "claims 12000000000000 bytes but stores 0",
        ),
        "a group": (lambda f, h: (f.__delitem__("mz"), f.create_group("mz")), "got a group"),
    }

    @pytest.mark.parametrize("case", BROKEN)
    def test_refuses_what_breaks_the_schema(self, tmp_path, case):
        change, message = self.BROKEN[case]
        path = self.change(tmp_path, change)
        with pytest.raises(DataError, match=message):
            read_section(path)
        assert re.search(message, "; ".join(validate_hdf5(path)))

    def test_refuses_a_newer_schema(self, tmp_path):
        path = self.change(tmp_path, lambda f, h: f.attrs.__setitem__("schema_version", 99))
        with pytest.raises(SchemaError, match="schema 99"):
            read_hdf5(path)

    def test_reads_a_stored_prediction(self, tmp_path):
        import h5py

        with h5py.File(tmp_path / "prediction.h5", "w") as file:
            file["prediction"] = section().values
            file["mz"] = section().mz
        np.testing.assert_array_equal(
            read_section(tmp_path / "prediction.h5").values, section().values
        )

    def test_is_no_hdf5_without_its_bytes(self, tmp_path):
        (tmp_path / "a.h5").write_bytes(b"nothing")
        with pytest.raises(DataError, match="cannot be read as HDF5"):
            read_section(tmp_path / "a.h5")


class TestWriterRefuses:
    def test_what_it_cannot_hold(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"must end in .imzML"):
            ImzMLWriter(tmp_path / "a.h5", shape=(1, 1))
        with pytest.raises(ConfigurationError, match="float32, float64, int32 or int64"):
            ImzMLWriter(tmp_path / "a.imzML", shape=(1, 1), arrays=ArrayFormat(mz=np.int16))
        with (
            pytest.raises(ConfigurationError, match="outside the grid"),
            ImzMLWriter(tmp_path / "a.imzML", shape=(1, 1)) as writer,
        ):
            writer.add(0, 1, [1.0], [1.0])
        assert list(tmp_path.iterdir()) == []
        with (
            pytest.raises(ConfigurationError, match="as many m/z as intensities"),
            ImzMLWriter(tmp_path / "a.imzML", shape=(1, 1)) as writer,
        ):
            writer.add(0, 0, [1.0], [1.0, 2.0])
        with ImzMLWriter(tmp_path / "b.imzML", shape=(1, 2), mode="continuous") as writer:
            writer.add(0, 0, [1.0], [1.0])
            with pytest.raises(ConfigurationError, match="one m/z axis"):
                writer.add(0, 1, [2.0], [1.0])

    def test_unknown_formats_and_folders(self, tmp_path):
        with pytest.raises(ConfigurationError, match="no format is known"):
            write_image(tmp_path / "a.xyz", section())
        with pytest.raises(StoreError, match="is not a folder"):
            write_image(tmp_path / "nowhere" / "a.h5", section())

    @pytest.mark.parametrize("mz_type", ["f4", "f8", "i4", "i8"])
    @pytest.mark.parametrize("compress", [True, False])
    def test_no_number_type_of_the_format(self, tmp_path, mz_type, compress):
        with ImzMLWriter(
            tmp_path / "a.imzML",
            shape=(1, 2),
            arrays=ArrayFormat(mz=mz_type, intensity=mz_type, compress=compress),
        ) as writer:
            writer.add(0, 0, [100, 200], [1, 2])
            writer.add(0, 1, [], [])
        found = open_imzml(tmp_path / "a.imzML", verify=True)
        mz, intensity = found.spectrum(0)
        assert mz.dtype == intensity.dtype == np.dtype(mz_type)
        assert (mz.tolist(), intensity.tolist()) == ([100, 200], [1, 2])
        assert found.spectrum(1)[0].size == 0


@settings(max_examples=25)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6)),
        elements=st.floats(0, 2.0**90, width=32),
    ),
    st.sampled_from(["continuous", "processed"]),
)
def test_any_stack_survives_imzml(values, mode):
    import tempfile
    from pathlib import Path

    image = MSImage(values, np.linspace(900, 100, len(values)))
    with tempfile.TemporaryDirectory() as folder:
        write_imzml(Path(folder) / "a.imzML", image, mode=mode)
        found = open_imzml(Path(folder) / "a.imzML").ion_images(image.mz, ppm=1)
        np.testing.assert_array_equal(found.values, values)


class TestConvert:
    def run(self, *arguments):
        from msibench.cli.convert import command

        return CliRunner().invoke(command, [str(argument) for argument in arguments])

    def test_goes_round_through_every_format(self, tmp_path):
        image = section()
        write_image(tmp_path / "a.npz", image)
        chain = ["a.npz", "b.imzML", "c.h5", "d.ome.tif", "e.npz"]
        for source, target in itertools.pairwise(chain):
            result = self.run(tmp_path / source, tmp_path / target)
            assert result.exit_code == 0, result.output + repr(result.exception)
            assert "3 ion images of 7 x 11 pixels (pixel size 12.5 µm)" in result.output
        found = read_section(tmp_path / "e.npz", mz=image.mz)
        np.testing.assert_array_equal(found.values, image.values)
        np.testing.assert_array_equal(found.mask, image.mask)

    def test_takes_windows_from_imzml(self, tmp_path):
        from tests.io.imzml.imzml_files import write_odd_imzml

        path = write_odd_imzml(tmp_path / "a.imzML")
        result = self.run(path, tmp_path / "b.h5", "--mz", "798.541,150", "--ppm", "20", "--verify")
        assert result.exit_code == 0, repr(result.exception)
        expected = open_imzml(path).ion_images([798.541, 150.0], 20)
        same(read_section(tmp_path / "b.h5"), expected)
        facts = read_provenance(tmp_path / "b.h5")
        assert (facts["mz"], facts["ppm"], facts["polarity"]) == ([798.541, 150.0], 20, "positive")
        result = self.run(path, tmp_path / "c.h5")
        assert isinstance(result.exception, ConfigurationError)
        assert "--mz" in str(result.exception)

    def test_describes_without_writing(self, tmp_path):
        from tests.io.imzml.imzml_files import write_odd_imzml

        path = write_odd_imzml(tmp_path / "a.imzML", declared_mode="continuous")
        result = self.run(path, "--check", "--verify")
        assert result.exit_code == 0
        assert "12 spectra" in result.output
        assert "note: the header says continuous, the arrays are processed" in result.output
        write_image(tmp_path / "b.h5", section())
        assert "valid" in self.run(tmp_path / "b.h5", "--check").output

    @pytest.mark.parametrize(
        "arguments", [("a.npz",), ("a.npz", "a.npz"), ("a.npz", "b.xyz"), ("no.npz", "b.h5")]
    )
    def test_refuses_what_it_cannot_mean(self, tmp_path, arguments):
        write_image(tmp_path / "a.npz", section())
        result = self.run(*(tmp_path / argument for argument in arguments))
        assert isinstance(result.exception, MSIBenchError)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ((256, 256), [(256, 256)]), ((257, 10), [(257, 10), (128, 5)]), ((1, 9000), [(1, 9000)]),
        ((3, 1025), [(3, 1025), (1, 512)]), ((513, 1030), [(513, 1030), (256, 515), (128, 257), (64, 128)]),
    ],
)  # fmt: skip
def test_a_pyramid_ends_in_one_tile_and_holds_area_means(tmp_path, shape, levels):
    assert TILE == 256
    assert _level_shapes(shape) == levels
    values = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    write_ome_tiff(tmp_path / "a.ome.tif", MSImage(values, np.array([500.0]), pixel_size_um=2.0))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        expected = values[0]
        assert len(file.series[0].levels) == len(levels)
        for number, level in enumerate(file.series[0].levels):
            page = level.keyframe
            assert page.predictor == 1
            assert (page.tilelength, page.tilewidth, page.compression.name) == (256, 256, "ADOBE_DEFLATE")  # fmt: skip
            assert page.get_resolution("centimeter") == pytest.approx((1e4 / 2**number / 2,) * 2, rel=1e-6)  # fmt: skip
            assert page.subfiletype == (1 if number else 0)
            np.testing.assert_allclose(np.squeeze(level.asarray()), np.squeeze(expected), rtol=1e-6)
            rows, columns = (side // 2 * 2 for side in expected.shape)
            if min(rows, columns):
                blocks = expected[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
                expected = blocks.mean(axis=(1, 3))


def test_a_mask_of_other_bytes_is_damaged():
    packed = pack_mask(np.ones((3, 3), bool))
    for shape in ((3, 3), (2, 5), (1, 16), (4, 4)):
        assert unpack_mask(packed, shape).shape == shape
    for shape in ((2, 4), (1, 17)):
        with pytest.raises(ValueError, match="the mask holds"):
            unpack_mask(packed, shape)
    for text in ("x", "AAAA"):
        with pytest.raises(ValueError, match=r"."):
            unpack_mask(text, (3, 3))


def test_a_stack_in_its_file_gives_the_bytes_of_one_in_memory(tmp_path, monkeypatch):
    image = section(shape=(300, 270))
    write_hdf5(tmp_path / "a.h5", image)
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", "0.1")
    lazy = read_section(tmp_path / "a.h5", lazily=True)
    assert not isinstance(lazy.values, np.ndarray)
    for name, one in (("memory", image), ("file", lazy)):
        write_ome_tiff(tmp_path / f"{name}.ome.tif", one)
    a, b = (tmp_path / f"{name}.ome.tif" for name in ("memory", "file"))
    np.testing.assert_array_equal(tifffile.imread(a), tifffile.imread(b))
    assert a.read_bytes() == b.read_bytes()
