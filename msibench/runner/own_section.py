"""A user's own sections as a data set, without a card to write."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.contracts.plain_text import few_of
from msibench.datasets import Card, CardFile, MZSet, file_digest, load_card
from msibench.datasets.card_file import check_specimens
from msibench.errors import ConfigurationError, MissingDataError
from msibench.runner.one_grid import require_one_grid
from msibench.tracks import Own

if TYPE_CHECKING:
    from msibench.plugin_manager import Catalogue

COMPANIONS = (".ibd", ".IBD", ".Ibd")
SECTIONS = (".imzml", ".npz", ".h5", ".hdf5", ".tif", ".tiff")
"""Endings of the files that a folder of sections is searched for."""


def own_card(own: Own, catalogue: Catalogue) -> Card:
    """Make the card of a user's own sections; see `card_for_files` and `specimens_of`."""
    card = card_for_files(
        [Path(name) for name in own.data],
        guides=[Path(name) for name in own.guide],
        transforms=[Path(name) for name in own.transform],
        guide_level=own.level,
        mz=own.mz,
        ppm=own.ppm,
        pixel_size_um=own.pixel_size_um,
        base=load_card(catalogue.dataset(own.dataset)) if own.dataset else None,
    )
    if not own.specimens:
        return card
    return replace(card, specimens=specimens_of(own.specimens, card.test))


def specimens_of(stated: Sequence[str], sections: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return specimen → sections as ``--specimen`` states them.

    Parameters
    ----------
    stated
        ``NAME=SECTION,SECTION``, where a SECTION may be a pattern (``mouse-1=m1_*``); a name that comes twice adds up.
    sections
        The sections that there are.

    Raises
    ------
    ConfigurationError
        If a text is not of this form, fits no section, or a section is of two specimens.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in stated:
        name, _, cut = text.partition("=")
        patterns = [part.strip() for part in cut.split(",") if part.strip()]
        if not patterns:
            raise ConfigurationError(
                f"--specimen is NAME=SECTION,SECTION (mouse-1=left,right or mouse-1=m1_*), got {text!r}"
            )
        for pattern in patterns:
            matched = tuple(section for section in sections if fnmatchcase(section, pattern))
            here = (pattern,) if pattern in sections else matched  # a name may hold brackets
            if not here:
                raise ConfigurationError(
                    f"--specimen {text}: no section is called {pattern!r}; there are {few_of(sections)}"
                )
            found[name.strip()] = tuple(dict.fromkeys((*found.get(name.strip(), ()), *here)))
    return check_specimens(found, sections, "--specimen")


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
    _check_files(data, guides, transforms)
    several = len(data) > 1
    names = section_names(data)
    if not several and base is not None:
        names = base.test[:1]
    files, local = _card_files(names, data, guides, transforms)
    tasks = ("single-image", "guided") if guides else ("single-image",)
    chosen = MZSet(name="chosen" if mz else "all", mz=tuple(mz), ppm=ppm, source="command line")
    if several:
        require_one_grid(data, by_mz=not mz and base is None, pixel_size_um=pixel_size_um)
    level = {} if guide_level is None else {"guide_level": guide_level}
    if base is not None:
        kept = base.mz_set(base.default_mz_set)
        return replace(
            base,
            bring_your_own=False,
            parameters={**base.parameters, **level},
            files=files,
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
        files=files,
        local_files=local,
        mz_sets={chosen.name: chosen},
        default_mz_set=chosen.name,
        test=names,
        parameters={"mz": tuple(mz), "ppm": ppm, **level},
    )


def _check_files(data: Sequence[Path], guides: Sequence[Path], transforms: Sequence[Path]) -> None:
    """Raise if files are missing, named twice, or not as many as the sections."""
    for option, named in (("--guide", guides), ("--transform", transforms)):
        if named and len(named) != len(data):
            raise ConfigurationError(
                f"{len(data)} sections and {len(named)} x {option}: give one for each section, in "
                "the order of --data"
            )
    for path in (*data, *guides, *transforms):
        if not path.is_file():
            raise MissingDataError(f"file not found: {str(path)!r} (--data, --guide, --transform)")
    if len({path.resolve() for path in data}) != len(data):
        raise ConfigurationError("--data names a file twice: give each section once")


def _card_files(
    names: Sequence[str],
    data: Sequence[Path],
    guides: Sequence[Path],
    transforms: Sequence[Path],
) -> tuple[tuple[CardFile, ...], dict[str, Path]]:
    """Return the files of a card with their digests, and where each of them lies."""
    several = len(data) > 1
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
    return tuple(files), local


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
    """Return the names of sections: the file's stem, with its folder's name where two have one.

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
            f"two sections would have the same name ({', '.join(sorted(set(names)))}); rename a file"
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
