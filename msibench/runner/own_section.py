"""A user's own section as a data set, without a card to write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from msibench.datasets import Card, CardFile, MZSet, file_digest
from msibench.errors import MissingDataError

COMPANIONS = (".ibd", ".IBD", ".Ibd")


def card_for_file(
    data: Path,
    *,
    guide: Path | None = None,
    transform: Path | None = None,
    mz: Sequence[float] = (),
    ppm: float = 5.0,
    pixel_size_um: float | None = None,
    guide_level: int | None = None,
    base: Card | None = None,
) -> Card:
    """Make a card for files of the user's own.

    Parameters
    ----------
    data
        imzML, HDF5, npz, TIFF or OME-TIFF stack, or a single image.
    guide, transform
        Optical image, and the file that maps the section to it (``msibench register``).
    mz, ppm
        Ion images to take; none: every channel of a stack, or the m/z set of `base`.
    pixel_size_um
        For files that do not say.
    guide_level
        Level of the guide's pyramid, 0 the finest; None: the one that is needed.
    base
        A card that asks for the user's own file: its m/z set and published scores are kept.

    Raises
    ------
    MissingDataError
        If a file is not there.
    """
    named = {"section": data, "guide": guide, "affine": transform}
    files = []
    local: dict[str, Path] = {}
    for role, path in named.items():
        if path is None:
            continue
        if not path.is_file():
            raise MissingDataError(f"there is no file {str(path)!r} (--data, --guide, --transform)")
        files.append(CardFile(name=path.name, role=role, sha256=file_digest(path)))
        local[path.name] = path.resolve()
        if path.suffix.lower() == ".imzml":
            files += _companion(path)
    tasks = ("single-image", "guided") if guide is not None else ("single-image",)
    chosen = MZSet(name="chosen" if mz else "all", mz=tuple(mz), ppm=ppm, source="command line")
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
            mz_sets={**base.mz_sets, **({"chosen": chosen} if mz else {})},
            default_mz_set="chosen" if mz else kept.name,
            pixel_size_um=base.pixel_size_um if pixel_size_um is None else pixel_size_um,
        )
    return Card(
        name=data.stem,
        title=f"{data.name} (your own section)",
        folder=data.parent,
        pixel_size_um=float("nan") if pixel_size_um is None else pixel_size_um,
        licence="your own",
        description="Brought with --data; scaled per ion image.",
        tasks=tasks,
        files=tuple(files),
        local_files=local,
        mz_sets={chosen.name: chosen},
        default_mz_set=chosen.name,
        test=(data.stem,),
        parameters={"mz": tuple(mz), "ppm": ppm, **level},
    )


def _companion(path: Path) -> list[CardFile]:
    """Return the binary part of an imzML file; its digest is of the first and last MiB and its size.

    A whole digest of tens of gigabytes at every start would cost minutes; the reader checks the
    UUID, and ``--sha1`` of ``msibench convert`` the content.
    """
    for suffix in COMPANIONS:
        binary = path.with_suffix(suffix)
        if binary.is_file():
            return [CardFile(name=binary.name, role="ibd", sha256=companion_digest(binary))]
    return []


def companion_digest(binary: Path) -> str:
    """Return the sha256 of a file's first and last MiB and its size."""
    size = binary.stat().st_size
    with binary.open("rb") as stream:
        head = stream.read(1 << 20)
        stream.seek(max(0, size - (1 << 20)))
        tail = stream.read()
    return hashlib.sha256(head + tail + str(size).encode()).hexdigest()
