"""A user's own sections as a data set, without a card to write, and as a track of their own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msibench.datasets import Card, CardFile, MZSet, file_digest, load_card
from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.tracks import Own, ProblemSet, Track, load_shipped

if TYPE_CHECKING:
    from msibench.plugin_manager import Catalogue

COMPANIONS = (".ibd", ".IBD", ".Ibd")
SECTIONS = (".imzml", ".npz", ".h5", ".hdf5", ".tif", ".tiff")
"""Endings of the files that a folder of sections is searched for."""
MEASURES_OF = "bladder-fusion-x4"
"""The shipped track whose measures one's own sections are judged by."""
GUIDE_CONTROLS = ("guide-shuffled",)
"""Wrong guides of one's own section, where it has a guide and nothing else is asked for."""


def own_track(
    own: Own,
    card: Card,
    protocols: tuple[str, ...],
    *,
    controls: tuple[str, ...] | None = None,
    name: str = "",
) -> Track:
    """Make a track of a user's own sections.

    Parameters
    ----------
    own, card
        The files and how they are read, and what `own_card` made of them.
    protocols
        How coarse images are made of them.
    controls
        Wrong guides that fusion methods are run with besides the true one; None: `GUIDE_CONTROLS`
        where there is a guide.
    name
        Of the track; empty: that of the file, of the folder, or of the card.

    Raises
    ------
    ConfigurationError
        If wrong guides are asked for and there is no true one.
    """
    if controls and not own.guide:
        raise ConfigurationError(
            f"--controls {','.join(controls)}: wrong guides stand in for a true one; give it with "
            "--guide"
        )
    if controls is None:
        controls = GUIDE_CONTROLS if own.guide else ()
    return Track(
        name=name or plain_name(card.name),
        title=card.title,
        description="Coarse ion images are made from your own "
        + ("sections; the sections are" if len(card.test) > 1 else "section; the section is")
        + f" the truth. {_described(own, card)}.",
        problems=(ProblemSet(dataset=card.name, protocols=protocols),),
        metrics=load_shipped(MEASURES_OF).metrics,
        guide_controls=controls,
        own=own,
    )


def own_card(own: Own, catalogue: Catalogue) -> Card:
    """Make the card of a user's own sections; see `card_for_files`."""
    return card_for_files(
        [Path(name) for name in own.data],
        guides=[Path(name) for name in own.guide],
        transforms=[Path(name) for name in own.transform],
        guide_level=own.level,
        mz=own.mz,
        ppm=own.ppm,
        pixel_size_um=own.pixel_size_um,
        base=load_card(catalogue.dataset(own.dataset)) if own.dataset else None,
    )


def card_for_files(
    data: Sequence[Path],
    *,
    guides: Sequence[Path] = (),
    transforms: Sequence[Path] = (),
    guide_level: int | None = None,
    mz: Sequence[float] = (),
    ppm: float = 5.0,
    pixel_size_um: float | None = None,
    base: Card | None = None,
) -> Card:
    """Make a card for files of the user's own.

    Parameters
    ----------
    data
        imzML, HDF5, npz, TIFF or OME-TIFF stacks, or single images, one a section.
    guides, transforms
        Optical images, and the files that map sections to them (``msibench register``): none, or one
        a section in the order of `data`.
    guide_level
        Level of the guides' pyramids, 0 the finest; None: the one that is needed.
    mz, ppm
        Ion images to take; none: every channel of a stack, or the m/z set of `base`.
    pixel_size_um
        For files that do not say.
    base
        A card that asks for the user's own file: its m/z set and published scores are kept.

    Raises
    ------
    MissingDataError
        If a file is not there.
    ConfigurationError
        If guides or transforms are fewer or more than the sections, or a file is named twice.
    DataError
        If several sections have not the same m/z values and pixel size.
    """
    for option, named in (("--guide", guides), ("--transform", transforms)):
        if named and len(named) != len(data):
            raise ConfigurationError(
                f"{len(data)} sections and {len(named)} x {option}: give one for each section, in "
                "the order of --data"
            )
    for path in (*data, *guides, *transforms):
        if not path.is_file():
            raise MissingDataError(f"there is no file {str(path)!r} (--data, --guide, --transform)")
    if len({path.resolve() for path in data}) != len(data):
        raise ConfigurationError("--data names a file twice: each section counts once")
    several = len(data) > 1
    names = section_names(data)
    if not several and base is not None:
        names = base.test[:1]
    files: list[CardFile] = []
    local: dict[str, Path] = {}
    for number, (section, path) in enumerate(zip(names, data, strict=True)):
        roles = {"section": path}
        roles |= {"guide": guides[number]} if guides else {}
        roles |= {"affine": transforms[number]} if transforms else {}
        if path.suffix.lower() == ".imzml" and (binary := _companion(path)) is not None:
            roles["ibd"] = binary
        for role, file in roles.items():
            name = f"{section}/{file.name}" if several else file.name
            digest = companion_digest(file) if role == "ibd" else file_digest(file)
            files.append(
                CardFile(name=name, role=role, section=section if several else "", sha256=digest)
            )
            local[name] = file.resolve()
    tasks = ("single-image", "guided") if guides else ("single-image",)
    chosen = MZSet(name="chosen" if mz else "all", mz=tuple(mz), ppm=ppm, source="command line")
    if several:
        _require_one_grid(data, by_mz=not mz and base is None, pixel_size_um=pixel_size_um)
    level = {} if guide_level is None else {"guide_level": guide_level}
    if base is not None:
        kept = base.mz_set(base.default_mz_set)
        return replace(
            base,
            bring_your_own=False,
            parameters={**base.parameters, **level},
            files=tuple(files),
            local_files=local,
            tasks=tasks,
            train=() if several else base.train,
            test=names if several else base.test,
            mz_sets={**base.mz_sets, **({"chosen": chosen} if mz else {})},
            default_mz_set="chosen" if mz else kept.name,
            pixel_size_um=base.pixel_size_um if pixel_size_um is None else pixel_size_um,
        )
    one = f"{data[0].name} (your own section)"
    return Card(
        name=_common_name(data) if several else data[0].stem,
        title=f"{len(data)} sections of your own: {', '.join(names)}" if several else one,
        folder=data[0].parent,
        pixel_size_um=float("nan") if pixel_size_um is None else pixel_size_um,
        licence="your own",
        description="Brought with --data; scaled per ion image.",
        tasks=tasks,
        files=tuple(files),
        local_files=local,
        mz_sets={chosen.name: chosen},
        default_mz_set=chosen.name,
        test=names,
        parameters={"mz": tuple(mz), "ppm": ppm, **level},
    )


def files_of_sections(named: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files that ``--data`` names: a folder stands for every section in it, by name.

    Raises
    ------
    MissingDataError
        If a folder holds no section.
    """
    found: list[Path] = []
    for path in named:
        if not path.is_dir():
            found.append(path)
            continue
        here = sorted(each for each in path.iterdir() if each.suffix.lower() in SECTIONS)
        if not here:
            raise MissingDataError(
                f"folder {str(path)!r} holds no section ({', '.join(SECTIONS)}); name files instead"
            )
        found += here
    return tuple(found)


def section_names(data: Sequence[Path]) -> tuple[str, ...]:
    """Return what sections are called: the file's stem, with its folder's name where two have one.

    Raises
    ------
    ConfigurationError
        If two would still have one name.
    """
    stems = [path.stem for path in data]
    names = tuple(
        plain_name(f"{path.resolve().parent.name}-{stem}") if stems.count(stem) > 1 else stem
        for path, stem in zip(data, stems, strict=True)
    )
    if len(set(names)) != len(names):
        raise ConfigurationError(
            f"two sections would have one name ({', '.join(sorted(set(names)))}); rename a file"
        )
    return names


def plain_name(text: str) -> str:
    """Return a name that can be a folder's, with a hyphen for every other letter."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)
    return re.sub(r"^\.+", "", plain) or "section"


def _common_name(data: Sequence[Path]) -> str:
    """Return the name of the folder that all sections lie in, else one of the first and their number."""
    folders = {path.resolve().parent for path in data}
    if len(folders) == 1 and (name := folders.pop().name):
        return plain_name(name)
    return plain_name(f"{data[0].stem}-and-{len(data) - 1}-more")


def _described(own: Own, card: Card) -> str:
    """Say which experiment it is: a second board of the same section differs in this."""
    mz = card.mz_set(card.default_mz_set).mz
    some = ", ".join(f"{value:g}" for value in mz[:4]) + (", …" if len(mz) > 4 else "")
    ions = f"m/z {some} (± {own.ppm:g} ppm)" if mz else "All channels of the file"
    guides = ", ".join(Path(name).name for name in own.guide)
    parts = [ions, f"guide {guides}" if guides else "no guide"]
    if own.transform:
        parts.append(f"brought onto it by {', '.join(Path(name).name for name in own.transform)}")
    return "; ".join(parts)


def _require_one_grid(data: Sequence[Path], *, by_mz: bool, pixel_size_um: float | None) -> None:
    """Raise if sections of one board would not have the same ion images, pixel by pixel as large."""
    from msibench.io.read import kind_of, read_section

    sizes: dict[str, float] = {}
    axes: dict[str, np.ndarray] = {}
    for path in data:
        if kind_of(path) == "imzml":
            from msibench.io.imzml.open import open_imzml

            if by_mz:
                raise DataError(
                    f"{path.name}: name the ion images of all sections with --mz, or --peaks N for "
                    f"the N most intense of {data[0].name}"
                )
            sizes[path.name] = open_imzml(path).pixel_size_um
            continue
        image = read_section(path, lazily=True)
        sizes[path.name], axes[path.name] = image.pixel_size_um, np.asarray(image.mz)
    if pixel_size_um is None:
        known = {name: size for name, size in sizes.items() if np.isfinite(size)}
        if known and not np.allclose(list(known.values()), next(iter(known.values())), rtol=0.01):
            raise DataError(
                "sections of one board must have pixels of one size; here are "
                f"{_listed(known)}: run them apart"
            )
    first = next(iter(axes.values()), None)
    if by_mz and first is not None:
        for name, axis in axes.items():
            if np.isnan(axis).any() or not np.array_equal(axis, first):
                raise DataError(
                    f"{name} and {next(iter(axes))} have not the same m/z values, so that their ion "
                    "images cannot be compared; name those that all have with --mz"
                )


def _listed(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {size:g} µm" for name, size in sizes.items())


def _companion(path: Path) -> Path | None:
    """Return the binary part of an imzML file."""
    places = (path.with_suffix(suffix) for suffix in COMPANIONS)
    return next((binary for binary in places if binary.is_file()), None)


def companion_digest(binary: Path) -> str:
    """Return the sha256 of a file's first and last MiB and its size.

    A whole digest of tens of gigabytes at every start would cost minutes; the reader checks the
    UUID, and ``--sha1`` of ``msibench convert`` the content.
    """
    size = binary.stat().st_size
    with binary.open("rb") as stream:
        head = stream.read(1 << 20)
        stream.seek(max(0, size - (1 << 20)))
        tail = stream.read()
    return hashlib.sha256(head + tail + str(size).encode()).hexdigest()
