"""Small files whose ion images would fill the memory are refused in words, before they are unpacked."""

import re
import zlib

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile

from msibench.cli import main as command_line
from msibench.errors import DataError, IntegrityError, MSIBenchError
from msibench.io import open_imzml, read_section
from tests.io.imzml.imzml_files import write_odd_imzml

SIDE, TILE = 5120, 1024


def tiles(packed):
    """Six images of zeros, of which one tile is packed and written over and over."""
    count = 6 * (SIDE // TILE) ** 2
    shape = {"shape": (6, SIDE, SIDE), "dtype": np.uint8, "tile": (TILE, TILE)}
    return {"data": iter([packed] * count), "photometric": "minisblack", **shape}


def lzma_tiff(path):
    packed = imagecodecs.lzma_encode(bytes(TILE**2))
    tifffile.imwrite(path, **tiles(packed), compression="lzma")


def ome_tiff(path):
    packed = zlib.compress(bytes(TILE**2))
    axes = {"axes": "CYX"}
    tifffile.imwrite(path, **tiles(packed), compression="zlib", ome=True, metadata=axes)


def hdf5(path):
    packed = zlib.compress(bytes(6000 * 6000))
    with h5py.File(path, "w") as file:
        images = file.create_dataset(
            "images", shape=(8, 6000, 6000), dtype="u1", chunks=(1, 6000, 6000), compression="gzip"
        )
        for channel in range(8):
            images.id.write_direct_chunk((channel, 0, 0), packed)
        file["mz"] = np.arange(1.0, 9.0)


@pytest.mark.parametrize(
    ("name", "make"), [("a.tif", lzma_tiff), ("a.ome.tif", ome_tiff), ("a.h5", hdf5)]
)
def test_what_counts_is_the_float32_result(tmp_path, name, make):
    path = tmp_path / name
    make(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises((DataError, IntegrityError, MSIBenchError), match=r"claims .* bytes"):
        read_section(path)


@pytest.mark.parametrize("value", [2**63, 2**63 + 1, 10**19 - 1, 2**64, 2**70, 10**30, -(2**63)])
@pytest.mark.parametrize("term", ["IMS:1000102", "IMS:1000103", "IMS:1000104", "IMS:1000050"])
def test_numbers_that_no_file_can_mean_are_refused_in_words(tmp_path, term, value):
    path = write_odd_imzml(tmp_path / "a.imzML")
    pattern = rf'({term}"[^>]*value=")\d+'
    text, count = re.subn(pattern, rf"\g<1>{value}", path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    with pytest.raises(MSIBenchError):
        open_imzml(path)


def test_too_little_memory_is_a_refusal_and_no_fault_of_the_program(monkeypatch, capsys):
    def no_memory(**_):
        raise MemoryError("Unable to allocate 5.8 GiB")

    monkeypatch.setattr(command_line.cli, "main", no_memory)
    with pytest.raises(SystemExit) as end:
        command_line.main(["list"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "not enough memory: Unable to allocate 5.8 GiB" in said
    assert "internal error" not in said
