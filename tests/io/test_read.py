"""Sections in every format that is read."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import msibench.io
from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.io import DataWarning, ImzMLOptions, open_imzml, read_section
from msibench.testing.mirror import mirrored
from tests.io.imzml.imzml_files import write_odd_imzml

RNG = np.random.default_rng(0)
STACK = RNG.random((3, 4, 6)).astype(np.float32)
MZ = [500.25, 300.5, 800.0]


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "a.npz", cube=STACK, mz=MZ)
    return tmp_path / "a.npz"


def test_npz_gives_its_channels_or_those_near_the_mz_asked_for(npz):
    np.testing.assert_array_equal(read_section(npz).values, STACK)
    image = read_section(npz, mz=[800.001, 500.25], ppm=5)
    np.testing.assert_array_equal(image.values, STACK[[2, 0]])
    np.testing.assert_array_equal(image.mz, [800.0, 500.25])
    with pytest.raises(
        ConfigurationError,
        match=r"no channel within 5 ppm of m/z 400.0000; the nearest is m/z 300.5",
    ):
        read_section(npz, mz=[400.0])


def test_pixel_size_can_be_given_and_must_be_a_length(npz):
    assert read_section(npz, pixel_size_um=25).pixel_size_um == 25
    with pytest.raises(ConfigurationError, match="positive length"):
        read_section(npz, pixel_size_um=0)


def test_npz_never_unpickles(tmp_path):
    np.savez(tmp_path / "a.npz", cube=np.array([{"x": 1}], dtype=object))
    with pytest.raises(DataError, match="cannot be read as npz"):
        read_section(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": STACK}, "expected an array 'cube'"),
        ({"cube": STACK[0, 0]}, "expected numbers"),
        ({"cube": STACK, "mz": [1.0]}, "one value per channel"),
        ({"cube": STACK.astype("c8")}, "expected numbers"),
    ],
)
def test_npz_that_is_no_section_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_section(tmp_path / "a.npz")


class TestTiff:
    def test_a_single_image_is_one_channel(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", (STACK[0] * 255).astype(np.uint8))
        image = read_section(tmp_path / "a.tif")
        assert image.values.shape == (1, 4, 6)
        assert np.isnan(image.mz).all()
        assert np.isnan(image.pixel_size_um)
        assert read_section(tmp_path / "a.tif", mz=760.5).mz == [760.5]

    @pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
    def test_a_stack_is_channels(self, tmp_path, dtype):
        stack = (STACK * 200).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
        np.testing.assert_array_equal(read_section(tmp_path / "a.tif").values, stack.astype("f4"))
        with pytest.raises(ConfigurationError, match="one m/z per channel"):
            read_section(tmp_path / "a.tif", mz=[1.0, 2.0])

    def test_imagej_stacks_have_scale_and_labels(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "a.tif", STACK, imagej=True, resolution=(0.1, 0.1),
            metadata={"unit": "um", "axes": "CYX", "Labels": ["m/z 500.25", "mz300.5", "m/z: 800"]},
        )  # fmt: skip
        image = read_section(tmp_path / "a.tif")
        assert image.pixel_size_um == pytest.approx(10)
        np.testing.assert_array_equal(image.mz, MZ)

    def test_ome_units_are_turned_into_micrometres(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "a.ome.tif", STACK,
            metadata={"axes": "CYX", "PhysicalSizeX": 0.02, "PhysicalSizeXUnit": "mm"},
        )  # fmt: skip
        assert read_section(tmp_path / "a.ome.tif").pixel_size_um == pytest.approx(20)

    def test_colour_is_refused_and_grey_colour_is_read(self, tmp_path):
        grey = np.repeat((STACK[0] * 255).astype(np.uint8)[..., None], 3, axis=2)
        tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="rgb")
        np.testing.assert_array_equal(read_section(tmp_path / "grey.tif").values[0], grey[..., 0])
        grey[0, 0, 1] ^= 1
        tifffile.imwrite(tmp_path / "colour.tif", grey, photometric="rgb")
        with pytest.raises(DataError, match="--guide"):
            read_section(tmp_path / "colour.tif")

    def test_damaged_files_are_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
        raw = (tmp_path / "a.tif").read_bytes()
        for cut in (0, 3, 10, len(raw) // 2):
            (tmp_path / "b.tif").write_bytes(raw[:cut])
            with pytest.raises(DataError):
                read_section(tmp_path / "b.tif")

    def test_a_claim_that_would_fill_the_memory_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", STACK[0], tile=(16, 16))
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
            for name in ("ImageWidth", "ImageLength"):
                file.pages[0].tags[name].overwrite(400_000)
        with pytest.raises(DataError, match="claims an image of 640000000000 bytes"):
            read_section(tmp_path / "a.tif")


class TestPicture:
    def test_greyscale_is_an_ion_image(self, tmp_path):
        values = (STACK[0] * 255).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_section(tmp_path / "a.png").values[0], values)

    def test_colour_is_refused(self, tmp_path):
        Image.fromarray((RNG.random((4, 5, 3)) * 255).astype(np.uint8)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match="colour picture"):
            read_section(tmp_path / "a.png")

    def test_damage_is_refused(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
        with pytest.raises(DataError, match="cannot be read as a picture"):
            read_section(tmp_path / "a.png")


class TestImzML:
    def test_needs_mz_unless_its_spectra_share_an_axis(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML")
        with pytest.raises(
            ConfigurationError, match=r"choose the m/z.*--mz.*peaks lie between m/z"
        ):
            read_section(path)
        expected = open_imzml(path).ion_images([300.25], ppm=7)
        found = read_section(path, mz=300.25, ppm=7)
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.pixel_size_um == 50

    def test_passes_its_options_on(self, tmp_path):
        coordinates = [(i % 2 + 1, i // 2 % 2 + 1, i // 4 + 1) for i in range(12)]
        path = write_odd_imzml(tmp_path / "a.imzML", coordinates=coordinates)
        for reader in ("xml", "scan", "pyimzml"):
            assert read_section(path, mz=300.25, imzml=ImzMLOptions(z=2, reader=reader)).shape == (
                2,
                2,
            )

    def test_images_of_a_large_file_are_kept(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("msibench.io.cache.WORTH_IT", 0)
        path = write_odd_imzml(tmp_path / "a.imzML")
        first = read_section(path, mz=[300.25, 150.0], ppm=9)
        assert len(list((tmp_path / "cache" / "stacks").iterdir())) == 1
        monkeypatch.setattr("msibench.io.imzml.section.ImzMLSection.ion_images", None)
        again = read_section(path, mz=[300.25, 150.0], ppm=9)
        np.testing.assert_array_equal(again.values, first.values)
        np.testing.assert_array_equal(again.mask, first.mask)
        assert (again.ppm, again.pixel_size_um) == (first.ppm, first.pixel_size_um)
        for changed in ({"ppm": 8}, {"mz": [150.0, 300.25]}, {"cache": False}):
            with pytest.raises(TypeError):  # not from the cache: ion_images is needed
                read_section(path, **{"mz": [300.25, 150.0], "ppm": 9, **changed})


def test_files_are_known_by_their_first_bytes_where_the_suffix_is_silent(tmp_path, npz):
    for name in ("data", "data.bin"):
        (tmp_path / name).write_bytes(npz.read_bytes())
        np.testing.assert_array_equal(read_section(tmp_path / name).values, STACK)


def test_what_is_not_there_or_not_known_is_said(tmp_path):
    with pytest.raises(MissingDataError, match="does not exist"):
        read_section(tmp_path / "a.npz")
    with pytest.raises(DataError, match="is a folder"):
        read_section(tmp_path)
    (tmp_path / "a.xyz").write_bytes(b"hello")
    with pytest.raises(DataError, match="unknown format"):
        read_section(tmp_path / "a.xyz")


def test_the_mirrored_sections_are_read():
    with pytest.warns(DataWarning, match="ignored: ssc"):
        bladder = read_section(mirrored("bladder/bladder.npz"))
    assert bladder.values.shape == (79, 134, 260)
    assert np.isfinite(bladder.mz).all()
    assert read_section(mirrored("lbae-mouse-brain/slice_5.tiff")).channels == 1


def test_every_public_name_of_io_is_where_it_is_said_to_be():
    for name in msibench.io.__all__:
        assert getattr(msibench.io, name).__module__.startswith("msibench.io.")


@pytest.mark.parametrize(
    ("changes", "mz"), [({}, [798.541, 400.0]), ({"shared_axis": True, "spectra": None}, [400.0])]
)
def test_a_window_without_any_peak_names_the_nearest(tmp_path, changes, mz):
    if "spectra" in changes:
        axis = np.array([150.0, 300.25, 798.541])
        changes = {**changes, "spectra": [(axis, np.ones(3))] * 12, "declared_mode": "continuous"}
    path = write_odd_imzml(tmp_path / "a.imzML", **changes)
    with pytest.raises(
        ConfigurationError, match=r"no peak within 9 ppm of m/z 400\.0000 \(the nearest"
    ):
        read_section(path, mz=mz, ppm=9)
    with pytest.raises(ConfigurationError, match=r"m/z 300\.2500, .* ppm or -99\.7500 Da away"):
        read_section(write_odd_imzml(tmp_path / "b.imzML", spectra=[(np.array([300.25]), np.ones(1))]
                     * 12), mz=[400.0])  # fmt: skip


def test_a_window_in_which_all_is_zero_gives_an_image_of_zeros(tmp_path):
    spectra = [(np.array([300.25, 500.0]), np.array([0.0, 2.0]))] * 12
    image = read_section(write_odd_imzml(tmp_path / "a.imzML", spectra=spectra), mz=[300.25, 500])
    assert not image.values[0].any()
    assert image.values[1].any()


def test_a_stack_of_one_value_is_a_section_and_one_of_none_is_not(tmp_path):
    np.savez(tmp_path / "one.npz", cube=np.ones((1, 1, 1)), mz=[500.0])
    assert read_section(tmp_path / "one.npz").shape == (1, 1)
    for shape in ((1, 0, 3), (0, 2, 3), (3,), (1, 1, 2, 2)):
        np.savez(tmp_path / "odd.npz", cube=np.ones(shape))
        with pytest.raises(DataError, match="odd"):
            read_section(tmp_path / "odd.npz")
