"""Data-set cards: look up, verify, read one section.

A card (``card.toml``) describes a data set; pixels stay where they are until a section is read. A section is
what the runner works on: the fine ion images and whatever is known beside them.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.dataset import DatasetSpec
from msibench.contracts.tables import (
    check_keys,
    check_plain_name,
    check_table,
    check_types,
    fields_of,
    read_table,
)
from msibench.downloads import cache_root
from msibench.errors import (
    ConfigurationError,
    IntegrityError,
    MissingDataError,
    UnknownNameError,
)
from msibench.image import GuideImage, MSImage
from msibench.mirror import find_in_mirror
from msibench.plugin_manager import resolve_target

CARD_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFile:
    """One file of a data set."""

    name: str
    role: str
    """``section``, ``guide``, ``affine``, ``mask``, ``second``, ``middle``, ``ibd``, ``licence``, ``other``."""
    section: str = ""
    """The section that it belongs to; empty: all."""
    url: str = ""
    sha256: str = ""
    size: int | None = None
    how: str = ""
    """How to get the file when it has no address of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MZSet:
    """Named m/z values that a data set is tested on."""

    name: str
    mz: tuple[float, ...] = ()
    """Empty: every channel that the section has."""
    ppm: float = 5.0
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Two ion images of one substance, each measured with its own noise."""

    mz: tuple[float, ...]
    """The two, in Da."""
    what: str = ""
    """Why they show the same, e.g. ``"two isotopes of zinc"``."""
    shared_noise: str = ""
    """What the two measurements share beside the signal; a ceiling from them is then an upper bound."""
    sections: tuple[str, ...] = ()
    """Where it holds; empty: every section, to be tested before it is used."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Card:
    """What is known of a data set before any pixel is read."""

    name: str
    title: str
    folder: Path
    tissue: str = ""
    polarity: str = "not stated"
    instrument: str = ""
    pixel_size_um: float = float("nan")
    unit: str = "arbitrary"
    declared_range: float | None = None
    """The full scale of the stored intensities (255 for 8-bit data); None: scaled per ion image."""
    counts: bool = False
    """Intensities are ion counts, so that Poisson statistics hold."""
    synthetic: bool = False
    ground_truth: bool = True
    """Whether the sections are fine-grid measurements that can judge a prediction."""
    bring_your_own: bool = False
    """The files are the user's own: ``--data FILE`` names them."""
    licence: str = ""
    citation: str = ""
    bibtex: str = ""
    description: str = ""
    tasks: tuple[str, ...] = ("single-image",)
    protocols: tuple[str, ...] = ()
    factor: int | None = None
    """The one factor of a data set without ground truth."""
    files: tuple[CardFile, ...] = ()
    mz_sets: Mapping[str, MZSet] = field(default_factory=dict)
    repeats: tuple[Repeat, ...] = ()
    default_mz_set: str = "all"
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    reader: str = ""
    published: Path | None = None
    """A table of published scores, shown beside measured ones and never mixed with them."""
    published_source: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Options of the reader."""
    local_files: Mapping[str, Path] = field(default_factory=dict)
    """A user's own files by name; their place never enters a key."""

    @property
    def sections(self) -> tuple[str, ...]:
        """Every section: those to train on, then those to test on."""
        return (*self.train, *(name for name in self.test if name not in self.train))

    def mz_set(self, name: str) -> MZSet:
        """Return the m/z set called `name`, or say which there are."""
        if name not in self.mz_sets:
            raise UnknownNameError(
                f"Data set {self.name!r} has no m/z set {name!r}; it has "
                f"{', '.join(sorted(self.mz_sets))}."
            )
        return self.mz_sets[name]

    def files_of(self, section: str) -> tuple[CardFile, ...]:
        """Return the files that one section is read from."""
        return tuple(file for file in self.files if file.section in {"", section})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Section:
    """One section as it was measured (or made), on its own grid."""

    dataset: str
    name: str
    image: MSImage
    guide: GuideImage | None = None
    second: MSImage | None = None
    middle: MSImage | None = None
    counts_per_unit: NDArray[np.float64] | None = None
    """Ion counts per intensity unit, ``(channel,)``, where they are known."""
    noise_free: NDArray[np.float32] | None = None
    """The signal without counting noise, ``(channel, row, column)``; synthetic sections only."""
    uncharted: NDArray[np.float32] | None = None
    """Structures of the guide without chemical counterpart, ``(row, column)``; synthetic only."""
    tic: NDArray[np.float64] | None = None
    """Total ion count of each pixel's whole spectrum, ``(row, column)``, where it was asked for and the
    data have whole spectra."""
    notes: tuple[str, ...] = ()


def load_card(spec: DatasetSpec) -> Card:
    """Read and check the card of one data set.

    Raises
    ------
    ConfigurationError
        If the card has a key that does not exist, or lacks one that must be there; the message
        names the card, the key and the nearest known one.
    """
    table = read_table(spec.card)
    return card_from_table(table, folder=spec.card.parent, reader=spec.reader)


def card_from_table(table: Mapping[str, Any], *, folder: Path, reader: str = "") -> Card:
    """Make a card from parsed TOML, checking every key."""
    remaining = dict(check_table(table, "a card"))
    name = check_plain_name(remaining.setdefault("name", folder.name), "a card's name")
    where = f"card of {name!r}"
    schema = remaining.pop("schema_version", None)
    if schema != CARD_SCHEMA:
        raise ConfigurationError(
            f"{where}: schema_version must be {CARD_SCHEMA}, got {schema!r}; "
            "a newer card needs a newer msibench"
        )
    sections = remaining.pop("sections", {})
    check_keys(sections, {"train", "test"}, f"{where}, [sections]")
    named = check_types(sections, Card, f"{where}, [sections]")
    mz_sets = {
        key: MZSet(
            name=key,
            **_checked(value, MZSet, f"{where}, [mz_sets.{key}]", skip={"name"}),
        )
        for key, value in check_table(
            remaining.pop("mz_sets", {"all": {}}), f"{where}, [mz_sets]"
        ).items()
    }
    files = tuple(
        CardFile(**_checked(value, CardFile, f"{where}, [[files]]"))
        for value in _tables(remaining, "files", where)
    )
    repeats = tuple(_repeat(value, where) for value in _tables(remaining, "repeats", where))
    for file in files:
        check_plain_name(
            file.name, f"{where}: file name", folders=True, home="the data set's folder"
        )
    for section in (*named.get("train", ()), *named.get("test", ())):
        check_plain_name(section, f"{where}: section")
    published = remaining.pop("published", None)
    if published is not None:
        check_plain_name(published, f"{where}: published must be a file beside it")
        if (folder / published).is_symlink():
            raise ConfigurationError(
                f"{where}: published = {published!r} is a link; put the file itself beside the card"
            )
    values = _checked(
        remaining,
        Card,
        where,
        skip={
            "folder",
            "files",
            "repeats",
            "mz_sets",
            "train",
            "test",
            "reader",
            "local_files",
        },
    )
    return Card(
        **values,
        folder=folder,
        files=files,
        repeats=repeats,
        mz_sets=mz_sets,
        train=named.get("train", ()),
        test=named.get("test", ()),
        reader=reader,
        published=None if published is None else folder / published,
    )


def find_file(card: Card, file: CardFile, *, verify: bool = True) -> Path:
    """Return where a file of a data set lies, its sha256 verified.

    Looked for beside the card, in ``MSIBENCH_MIRROR``, then among the downloaded files, and after that as
    ``<name>.gz`` in the same places: of a gzipped copy the sha256 of its contents counts. `open_unpacked`
    reads either.

    Raises
    ------
    MissingDataError
        If it is nowhere; the message says how to get it.
    IntegrityError
        If its sha256 is not the card's.
    """
    path = card.local_files.get(file.name)
    if path is None or not path.is_file():
        path = _place_of(card, file.name) or _place_of(card, f"{file.name}.gz")
    if path is None:
        how = file.how or f"fetch it with: msibench fetch {card.name}"
        raise MissingDataError(
            f"Data set {card.name!r} needs {file.name!r}, which is neither beside its card, nor in "
            f"MSIBENCH_MIRROR (<mirror>/{card.name}/{file.name}), nor downloaded; {how}"
        )
    if verify and file.sha256:
        packed = path.suffix == ".gz" and not file.name.endswith(".gz")
        found_digest = _digest_inside(path, file) if packed else file_digest(path)
        if found_digest != file.sha256:
            raise IntegrityError(
                f"{path} has sha256 {found_digest}, the card of {card.name!r} says {file.sha256}: "
                "the file is damaged or of another version. Delete it and fetch it again."
            )
    return path


def open_unpacked(path: Path) -> TextIO:
    """Open a text file (UTF-8), gzipped if its name ends in ``.gz``; line ends stay as they are."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _place_of(card: Card, name: str) -> Path | None:
    """Return where a file of this name lies; no link is followed out of the card's own folder."""
    beside = card.folder / name
    candidates = (
        beside if beside.resolve().is_relative_to(card.folder.resolve()) else None,
        find_in_mirror(Path(card.name) / name),
        download_folder(card) / name,
    )
    return next((found for found in candidates if found is not None and found.is_file()), None)


def _digest_inside(path: Path, file: CardFile) -> str:
    """Return the sha256 of what a gzipped copy holds, read no further than the card's size."""
    digest, length = hashlib.sha256(), 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                length += len(block)
                if file.size is not None and length > file.size:
                    break
    except (OSError, EOFError, zlib.error) as error:
        raise IntegrityError(
            f"{path} is a damaged gzip file ({error}): delete it and fetch it again"
        ) from error
    return digest.hexdigest()


def download_folder(card: Card) -> Path:
    """Return the folder that ``msibench fetch`` fills for this data set."""
    return cache_root() / "datasets" / card.name


def read_section(
    card: Card, section: str, mz_set: str = "", *, lazily: bool = False, with_tic: bool = False
) -> Section:
    """Read one section with the ion images of one m/z set.

    Parameters
    ----------
    card
        The data set.
    section
        Name of the section, one of ``card.sections``.
    mz_set
        Name of an m/z set of the card; empty: the default.
    lazily
        Leave a large stack in its file where the format allows it (`msibench.io.stored_stack`).
    with_tic
        Read the total ion count of every whole spectrum, too, where the file has spectra (imzML).

    Raises
    ------
    UnknownNameError, MissingDataError, IntegrityError, DataError
    """
    if section not in card.sections:
        near = get_close_matches(section, card.sections, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(
            f"Data set {card.name!r} has no section {section!r}.{hint} "
            f"It has {', '.join(card.sections)}."
        )
    chosen = card.mz_set(mz_set or card.default_mz_set)
    if card.bring_your_own:
        wanted = card.files[0].how if card.files else "your own file"
        raise MissingDataError(
            f"The measurements of {card.name!r} are not public: {wanted}. Then run with --data FILE."
        )
    if card.reader:
        found: Section = resolve_target(card.reader)(card, section, chosen)
        return select_mz(found, chosen)
    return _read_plain(card, section, chosen, lazily, with_tic)


def dataset_digest(card: Card, section: str) -> str:
    """Return the sha256 that stands for the data of one section, without reading pixels.

    Made of the sha256 of every file that the section is read from, and what the card says that changes
    pixels, and the reader's code.
    """
    import json

    reader_code = ""
    if card.reader:
        module = card.reader.rpartition(":")[0]
        path = Path(module) if module.endswith(".py") else None
        folder = path.parent if path else card.folder
        reader_code = "".join(file_digest(source) for source in sorted(folder.glob("*.py")))
    content = {
        "name": card.name,
        "section": section,
        "files": sorted((file.name, file.role, file.sha256) for file in card.files_of(section)),
        "pixel_size_um": repr(card.pixel_size_um),
        "declared_range": card.declared_range,
        "unit": card.unit,
        "counts": card.counts,
        "parameters": {key: repr(value) for key, value in sorted(card.parameters.items())},
        "reader": reader_code,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checked(
    table: Mapping[str, Any], kind: type, where: str, skip: set[str] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments for a dataclass, lists as tuples, types checked."""
    import dataclasses

    check_keys(table, fields_of(kind) - (skip or set()), where)
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    } - (skip or set())
    if missing := required - table.keys():
        raise ConfigurationError(f"{where}: missing {', '.join(sorted(missing))}")
    return check_types(table, kind, where)


def _tables(remaining: dict[str, Any], key: str, where: str) -> list[Any] | tuple[Any, ...]:
    """Take a list of tables out of a card."""
    listed = remaining.pop(key, [])
    if not isinstance(listed, list | tuple):
        raise ConfigurationError(f"{where}: {key} must be tables [[{key}]]")
    return listed


def _repeat(table: Mapping[str, Any], where: str) -> Repeat:
    where = f"{where}, [[repeats]]"
    repeat = Repeat(**_checked(table, Repeat, where))
    if len(repeat.mz) != 2 or repeat.mz[0] == repeat.mz[1]:
        raise ConfigurationError(f"{where}: mz must be two different m/z, got {list(repeat.mz)}")
    return repeat


def _read_plain(card: Card, section: str, mz_set: MZSet, lazily: bool, with_tic: bool) -> Section:
    """Read a section whose files the core's own readers understand."""
    from msibench.io import read as io_read

    by_role = {file.role: file for file in card.files_of(section)}
    if "section" not in by_role:
        raise ConfigurationError(
            f"card of {card.name!r}: section {section!r} has no file with role 'section'"
        )
    path = find_file(card, by_role["section"])
    image = io_read.read_section(
        path,
        mz=list(mz_set.mz) or None,
        ppm=mz_set.ppm,
        pixel_size_um=None if np.isnan(card.pixel_size_um) else card.pixel_size_um,
        lazily=lazily,
        absent="zero" if len(card.sections) > 1 else "error",
    )
    image = replace(image, unit=card.unit)
    guide = None
    if "guide" in by_role:
        guide = _read_guide(card, by_role, image)
    tic = io_read.read_tic(path) if with_tic else None
    found = Section(dataset=card.name, name=section, image=image, guide=guide, tic=tic)
    return select_mz(found, mz_set)


def _read_guide(card: Card, by_role: Mapping[str, CardFile], image: MSImage) -> GuideImage:
    """Read the optical image of a card and bring it onto the grid of the ion images."""
    transform = find_file(card, by_role["affine"]) if "affine" in by_role else None
    path = find_file(card, by_role["guide"])
    level = card.parameters.get("guide_level")
    return guide_on_grid(
        path,
        transform,
        image.shape,
        1,
        image.pixel_size_um,
        level=level if isinstance(level, int) else None,
    )


def guide_on_grid(
    path: Path,
    transform: Path | None,
    shape: tuple[int, int],
    finer: int,
    pixel_size_um: float,
    *,
    level: int | None = None,
) -> GuideImage:
    """Read an optical image and bring it onto a grid.

    A transform that was made on another level of the image's pyramid is rescaled.

    Parameters
    ----------
    path, transform
        The image, and the file that maps the section's pixels to it (``msibench register`` wrote
        it, or an affine map). None: the image shows the very same field of view, which its
        proportions must bear out, and it is resized.
    shape, finer
        ``(row, column)`` of the grid, and how many of its pixels stand along a pixel of the grid
        that `transform` speaks of.
    pixel_size_um
        Of the grid.
    level
        Level of a pyramid to read, 0 the finest; None: the finest, or, where that has more than 100
        million pixels, the coarsest that is as fine as the grid.

    Raises
    ------
    ConfigurationError
        If there is no transform and the proportions differ by more than 2 %.
    DataError
        If the transform was made for a picture of a size that this one has on no level.
    """
    from msibench.io.guide.levels import guide_levels, needed_level
    from msibench.io.guide.open import read_guide
    from msibench.registration import Affine, Composite, Transform, resample
    from msibench.registration.levels import made_for, on_level
    from msibench.registration.resample import guide_pixels_across

    levels = guide_levels(path)
    onto: Transform
    if transform is not None and levels:
        coarse = Affine(np.eye(2) / finer, np.full(2, 0.5 / finer - 0.5))
        given, made = Transform.from_file(transform), made_for(transform, levels, path.name)
        if level is None:
            finest = Composite(coarse, on_level(given, made, levels[0]))
            level = needed_level(levels, guide_pixels_across(finest, shape))
        guide = read_guide(path, level=level)
        onto = Composite(coarse, on_level(given, made, guide.shape))
    else:
        if level is None and levels:
            level = needed_level(levels, levels[0][0] / shape[0])
        guide = read_guide(path, level=level)
        ratio = (guide.shape[0] / guide.shape[1]) / (shape[0] / shape[1])
        if abs(ratio - 1) > 0.02:
            raise ConfigurationError(
                f"{path.name} is {guide.shape[0]} x {guide.shape[1]} pixels and the section's grid "
                f"{shape[0]} x {shape[1]}: it shows another field of view. Bring it onto the "
                "section with `msibench register` and name the result with --transform"
            )
        scale = np.array(guide.shape) / np.array(shape)
        onto = Affine(np.diag(scale), (scale - 1) / 2)
    on_grid = resample(guide, onto, shape)
    return replace(on_grid, pixel_size_um=pixel_size_um)


def select_mz(section: Section, mz_set: MZSet) -> Section:
    """Keep the channels of the m/z set, in every array that has channels."""
    image = section.image
    if not mz_set.mz or (
        image.channels == len(mz_set.mz) and np.array_equal(image.mz, np.asarray(mz_set.mz))
    ):
        return section
    from msibench.io.channel_choice import choose_channels

    chosen = choose_channels(image, mz_set.mz, mz_set.ppm, section.dataset)
    kept = [int(np.nanargmin(np.abs(image.mz - value))) for value in chosen.mz]
    return replace(
        section,
        image=replace(chosen, ppm=mz_set.ppm),
        counts_per_unit=None if section.counts_per_unit is None else section.counts_per_unit[kept],
        noise_free=None if section.noise_free is None else section.noise_free[kept],
    )
