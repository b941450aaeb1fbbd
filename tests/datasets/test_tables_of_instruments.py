"""Sections whose public files are tables: as the instrument wrote them, gzipped or not."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from msibench.datasets import CardFile, MZSet, card_from_table, find_file, load_card, read_section
from msibench.errors import ConfigurationError, DataError, IntegrityError
from msibench.plugin_manager.discovery import discover
from msibench.testing import mirrored

CARDS = {name: load_card(spec) for name, spec in discover().datasets.items()}
PROSTATE, TUMOUR = CARDS["laicpms-prostate"], CARDS["her2-tumour"]
ELEMENTS = ("P:31", "Fe:57", "Zn:64", "Zn:66")


def prostate_table(lines=5, scans=7):
    """A table as the laser's software writes it, and the maps that it holds."""
    maps = np.round(np.random.default_rng(3).random((4, lines, scans)) * 50, 2)
    rows = [
        ["Time"] + [f"Sample_{line:03}" for line in range(lines) for _ in ELEMENTS],
        [""] + ["10/9/2019"] * (4 * lines),
        ["", *ELEMENTS * lines],
        *(
            [f"{scan * 4e-6:.12f}", *(f"{v:.2f}" for v in maps[:, :, scan].T.ravel())]
            for scan in range(scans)
        ),
    ]
    return "\n".join(",".join(row) for row in rows).encode(), maps


def tumour_tables():
    """Places and spectra of five spots on a grid of 2 x 3; one place has no spectrum of its number."""
    places = "Spot index;x;y\r\n" + "".join(
        f"{number};{x};{y}\r\n"
        for number, x, y in [
            (7, 140.5, -60.25), (8, 160.5, -60.25), (9, 100.5, -80.25), (10, 120.5, -80.25),
            (11, 160.5, -80.25),
        ]
    )  # fmt: skip
    spectra = "m/z;Spot 8;Spot 9;Spot 10;Spot 11;Spot 12\r\n" + "".join(
        f"{mz};{';'.join(str(mz + spot) for spot in (8, 9, 10, 11, 12))}\r\n"
        for mz in (100.0, 200.0)
    )
    return places.encode(), spectra.encode()


def place(folder, name, raw, packed):
    path = folder / (f"{name}.gz" if packed else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if packed else raw)


def listed(name, role, raw, section=""):
    return CardFile(
        name=name, role=role, section=section, sha256=hashlib.sha256(raw).hexdigest(), size=len(raw)
    )


@pytest.fixture
def prostate(tmp_path, monkeypatch):
    raw, maps = prostate_table()
    monkeypatch.setenv("MSIBENCH_MIRROR", str(tmp_path))
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
    file = listed("original/a.csv", "section", raw, "a")
    card = replace(PROSTATE, files=(file,), test=("a",))
    return card, raw, maps, tmp_path / card.name


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_lines_and_scans_becomes_element_maps(prostate, packed):
    card, raw, maps, folder = prostate
    place(folder, "original/a.csv", raw, packed)
    section = read_section(card, "a")
    np.testing.assert_allclose(section.image.values, maps, rtol=1e-6)
    np.testing.assert_array_equal(section.image.mz, [31, 57, 64, 66])
    assert section.image.unit == "kcps"
    assert section.guide is None, "P31 must not guide itself"


def test_the_guide_is_the_element_that_is_not_magnified(prostate):
    card, raw, maps, folder = prostate
    place(folder, "original/a.csv", raw, packed=False)
    section = read_section(card, "a", "guided")
    np.testing.assert_array_equal(section.image.mz, [57, 64, 66])
    expected = np.clip(maps[0] / np.quantile(maps[0], 0.999), 0, 1)
    np.testing.assert_allclose(section.guide.values[0], expected, atol=1e-5)


def test_chosen_elements_have_the_guide_that_the_named_set_has(prostate):
    card, raw, _, folder = prostate
    place(folder, "original/a.csv", raw, packed=False)
    named = read_section(card, "a", "guided").guide
    chosen = read_section(card, "a", MZSet(name="chosen", mz=(57.0, 66.0), ppm=100))
    np.testing.assert_array_equal(chosen.image.mz, [57, 66])
    np.testing.assert_array_equal(chosen.guide.values, named.values)
    both = read_section(card, "a", MZSet(name="chosen", mz=(31.0, 57.0), ppm=100))
    assert both.guide is None


def test_a_gzipped_copy_is_judged_by_what_is_in_it(prostate):
    card, raw, _, folder = prostate
    place(folder, "original/a.csv", raw + b" ", packed=True)
    with pytest.raises(IntegrityError, match="damaged or of another version"):
        read_section(card, "a")
    (folder / "original/a.csv.gz").write_bytes(gzip.compress(raw)[:-12])
    with pytest.raises(IntegrityError, match="damaged gzip file"):
        find_file(card, card.files[0])
    (folder / "original/a.csv.gz").write_bytes(gzip.compress(raw + b"0" * 10_000_000))
    with pytest.raises(IntegrityError):
        find_file(card, card.files[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"P:31,Fe:57", b"Fe:57,P:31", "expected columns P31, Fe57, Zn64, Zn66"),
        (b"\n0.000004000000,", b"\n0.000004000000,high,", "every row|not a number"),
    ],
)
def test_another_table_is_refused_with_what_was_expected(prostate, old, new, message):
    card, raw, _, folder = prostate
    changed = raw.replace(old, new)
    assert changed != raw
    place(folder, "original/a.csv", changed, packed=False)
    file = listed("original/a.csv", "section", changed, "a")
    with pytest.raises(DataError, match=message):
        read_section(replace(card, files=(file,)), "a")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("spots", ["by-number", "by-order"])
def test_spots_find_their_places(tmp_path, monkeypatch, packed, spots):
    monkeypatch.setenv("MSIBENCH_MIRROR", str(tmp_path))
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
    places, spectra = tumour_tables()
    stain = tmp_path / "stain.png"
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(stain)
    options = TUMOUR.parameters
    raw = {
        options["places"]: places,
        options["spectra"]: spectra,
        options["stain"]: stain.read_bytes(),
    }
    for name, content in raw.items():
        place(tmp_path / TUMOUR.name, name, content, packed and name.endswith(".csv"))
    identity = {"affine": [[1.0, 0.0], [0.0, 1.0]], "offset": [0.0, 0.0], "spots": spots}
    card = replace(
        TUMOUR,
        files=tuple(listed(name, "other", content) for name, content in raw.items()),
        mz_sets={"all": MZSet(name="all")},
        parameters={**options, **identity},
    )
    image = read_section(card, "tumour2").image
    assert image.shape == (2, 4)
    # y grows with the row; column 0 is x = 100.5
    if spots == "by-number":
        np.testing.assert_array_equal(image.values[0], [[109, 110, 0, 111], [0, 0, 0, 108]])
        np.testing.assert_array_equal(image.mask, image.values[0] > 0)
    else:
        np.testing.assert_array_equal(image.values[1], [[210, 211, 0, 212], [0, 0, 208, 209]])


def test_repeats_name_two_mz(tmp_path):
    assert [repeat.mz for repeat in PROSTATE.repeats] == [(64.0, 66.0)]
    assert "laser" in PROSTATE.repeats[0].shared_noise
    table = {"schema_version": 1, "name": "toy", "title": "toy"}
    for wrong in ([64.0], [64.0, 64.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ConfigurationError, match="two different m/z"):
            card_from_table({**table, "repeats": [{"mz": wrong}]}, folder=tmp_path)
    with pytest.raises(ConfigurationError, match=r"tables \[\[repeats\]\]"):
        card_from_table({**table, "repeats": "Zn"}, folder=tmp_path)


@pytest.mark.parametrize("name", PROSTATE.test)
def test_the_public_table_holds_the_maps_of_the_stack(name):
    stack = np.load(mirrored(f"laicpms-prostate/{name}.npz"))
    mirrored(f"laicpms-prostate/original/LA_Data_{name}.csv.gz")
    image = read_section(PROSTATE, name).image
    np.testing.assert_array_equal(image.values, stack["cube"])
    np.testing.assert_array_equal(image.mz, stack["mz"])
    assert 0.65 < image.mask.mean() < 0.85


@pytest.mark.slow
def test_the_public_tables_hold_the_tumour_of_the_stack():
    stack = np.load(mirrored("her2-tumour/tumour2.npz"))
    mirrored("her2-tumour/original/ExampleTumor2-colData.csv.gz")
    section = read_section(TUMOUR, "tumour2")
    np.testing.assert_array_equal(section.image.values, stack["cube"])
    np.testing.assert_array_equal(section.image.mask, stack["mask"])
    np.testing.assert_allclose(section.image.mz, stack["mz"])
    assert section.guide.shape == (79, 205)


@pytest.mark.slow
def test_one_group_of_tumour_ions_follows_the_stain_and_the_other_does_not():
    mirrored("her2-tumour/original/ExampleTumor2-colData.csv.gz")
    explained = {}
    for group in ("follows-stain", "ignores-stain"):
        section = read_section(TUMOUR, "tumour2", group)
        tissue = section.image.mask
        colours = np.vstack([section.guide.values[:, tissue], np.ones(tissue.sum())]).T
        for mz, image in zip(section.image.mz, section.image.values, strict=True):
            left = image[tissue] - colours @ np.linalg.lstsq(colours, image[tissue])[0]
            explained[round(float(mz), 3)] = 1 - left.var() / image[tissue].var()
    assert explained[732.554] > 0.75
    assert explained[706.539] > 0.55
    assert explained[734.569] < 0.3
    assert explained[703.575] < 0.3
