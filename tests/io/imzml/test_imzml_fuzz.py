"""Mutated imzML pairs: no crash, no hang, no over-allocation, no wrong image without a message."""

import resource
import time
import warnings

import numpy as np
import pytest

from msibench.errors import MSIBenchError
from msibench.io import DataWarning, open_imzml
from tests.io.imzml.imzml_files import write_odd_imzml
from tests.io.imzml.imzml_reference import reference_images

MZ = [150.0, 300.25, 798.541]
PPM = 30.0
DIGITS = np.frombuffer(b"0123456789", dtype=np.uint8)


def mutate(raw, rng):
    """Flip bits, change, drop, double or cut bytes; half of the time in a digit, where it hurts."""
    changed = bytearray(raw)
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        at = int(rng.integers(len(changed)))
        digits = np.flatnonzero(np.isin(np.frombuffer(changed, np.uint8), DIGITS))
        if digits.size and rng.random() < 0.5:
            at = int(rng.choice(digits))
        kind = rng.integers(6)
        if kind <= 1:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            changed[at] = int(rng.integers(256))
        elif kind == 3:
            changed[at] = int(rng.choice(DIGITS))
        elif kind == 4:
            size = int(rng.integers(1, 40))
            changed[at:at] = changed[at : at + size]
        else:
            del changed[at : at + int(rng.integers(1, 40))]
        if not changed:
            break
    return bytes(changed)


def fuzz(folder, count, seed, **recipe):
    """Try mutated files; return how often each outcome was seen."""
    path = write_odd_imzml(folder / "a.imzML", **recipe)
    ibd = path.with_suffix(".ibd")
    xml_bytes, ibd_bytes = path.read_bytes(), ibd.read_bytes()
    original = open_imzml(path).ion_images(MZ, PPM).values
    seen = {"refused": 0, "warned": 0, "equal": 0, "as before": 0}
    for reader in ("xml", "scan"):  # the first call compiles, which is not a hang
        section = open_imzml(path, reader=reader, cache=False)
        section.ion_images(MZ, PPM)
        section.tic()
    slowest, messages = 0.0, []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        in_xml = rng.random() < 0.8
        path.write_bytes(mutate(xml_bytes, rng) if in_xml else xml_bytes)
        ibd.write_bytes(ibd_bytes if in_xml else mutate(ibd_bytes, rng))
        start = time.process_time()  # a busy machine is not a hang either
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                section = open_imzml(path, reader=("xml", "scan")[number % 2], cache=False)
                values = section.ion_images(MZ, PPM).values
                section.tic()
            except MSIBenchError as error:
                messages.append(str(error))
                seen["refused"] += 1
                continue
            finally:
                slowest = max(slowest, time.process_time() - start)
        if any(issubclass(warning.category, DataWarning) for warning in caught):
            seen["warned"] += 1
            continue
        try:
            expected = reference_images(path, MZ, PPM)
        except Exception:
            np.testing.assert_array_equal(values, original, err_msg=f"file {number}")
            seen["as before"] += 1
            continue
        np.testing.assert_array_equal(values, expected, err_msg=f"file {number}")
        seen["equal"] += 1
    assert slowest < 20, "a mutated file hung the reader"
    assert min(map(len, messages)) > 30, "a message that does not help"
    return seen


def check(folder, count, seed, **recipe):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = fuzz(folder, count, seed, **recipe)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert sum(seen.values()) == count
    assert seen["refused"] > count / 20
    assert seen["equal"] > count / 20
    assert grown < 300, f"memory grew by {grown:.0f} MB over files of a few kB"


@pytest.mark.parametrize(
    "recipe", [{}, {"shared_axis": True, "mz_type": "f4"}], ids=["processed", "continuous"]
)
def test_mutated_files_are_refused_or_warned_about_or_read_right(tmp_path, recipe):
    if recipe:
        rng = np.random.default_rng(0)
        recipe = {
            **recipe,
            "spectra": [(np.array([150.0, 300.25, 798.541]), rng.random(3)) for _ in range(12)],
        }
    check(tmp_path, 40, seed=1, **recipe)


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_refused_or_warned_about_or_read_right(tmp_path):
    check(tmp_path, 8000, seed=2)
    axis = np.array([150.0, 300.25, 798.541])
    rng = np.random.default_rng(0)
    spectra = [(axis, rng.random(3)) for _ in range(12)]
    check(tmp_path, 4000, seed=3, spectra=spectra, shared_axis=True, mz_type="f4")


@pytest.mark.parametrize("count", [80, pytest.param(3000, marks=pytest.mark.slow)])
def test_mutated_compressed_files_never_raise_anything_but_messages(tmp_path, count):
    path = write_odd_imzml(tmp_path / "a.imzML", compression="zlib", mobility=True)
    ibd = path.with_suffix(".ibd")
    xml_bytes, ibd_bytes = path.read_bytes(), ibd.read_bytes()
    refused = 0
    for number in range(count):
        rng = np.random.default_rng([4, number])
        path.write_bytes(mutate(xml_bytes, rng) if number % 2 else xml_bytes)
        ibd.write_bytes(ibd_bytes if number % 2 else mutate(ibd_bytes, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            try:
                open_imzml(path, cache=False).ion_images(MZ, PPM)
            except MSIBenchError:
                refused += 1
    assert refused > count / 20
