"""The files of a problem: what a method sees, what it learns from, and the truth that it is judged by.

``problem.h5`` is copied into every cell, ``training.h5`` lies beside it for a method that learns, and
``section.h5`` stays with the harness, for scoring and pages. This module alone knows how they are laid out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.errors import IntegrityError, MSIBenchError
from msibench.image import GuideImage, MSImage, Pair, Problem
from msibench.results.arrays import ArrayFile, array_file, read_arrays, write_arrays
from msibench.results.files import sha256_of

if TYPE_CHECKING:
    from msibench.degradation import DegradationProtocol

PROBLEM, SECTION = "problem.h5", "section.h5"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Staged:
    """Everything that scoring and pages need to know of one problem: the content of ``section.h5``."""

    truth: MSImage | None
    low: MSImage
    protocol_name: str
    guide: GuideImage | None
    scale: NDArray[np.float64]
    """``(channel,)``: intensity of the section that became 1."""
    counts_per_unit: NDArray[np.float64] | None
    noise_free: NDArray[np.float32] | None
    uncharted: NDArray[np.float32] | None
    notes: tuple[str, ...]
    digest: str
    """sha256 of ``section.h5``; empty where it was not asked for."""
    repeats: Mapping[int, tuple[int, str]] = field(default_factory=dict)
    """Channel → the channel that measures the same again, and the noise that the two share."""
    again: NDArray[np.float32] | None = None
    """Those second measurements, ``(channel, row, column)``, where they are not in `truth`."""

    @property
    def protocol(self) -> DegradationProtocol:
        """The protocol that made it."""
        from msibench.degradation import protocol  # scipy stays out of the child's start

        return protocol(self.protocol_name)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Tissue on the fine grid."""
        return None if self.truth is None else self.truth.mask

    def some_ions(self, group: slice) -> Staged:
        """Return what is known of some ion images, as arrays."""

        def cut(values: Any) -> Any:
            return None if values is None else np.asarray(values[group])

        return replace(
            self,
            truth=None if self.truth is None else self.truth.select(group),
            low=self.low.select(group),
            scale=self.scale[group],
            counts_per_unit=cut(self.counts_per_unit),
            noise_free=cut(self.noise_free),
            again=self.second_measurement(group),
            repeats={
                place: self.repeats[channel]
                for place, channel in enumerate(range(len(self.scale))[group])
                if channel in self.repeats
            },
        )

    def second_measurement(self, group: slice) -> NDArray[np.float32] | None:
        """Return some channels as they were measured again, NaN where they were not.

        None where the section has no second measurement at all.
        """
        if self.again is not None:
            return self.again[group]
        if not self.repeats or self.truth is None:
            return None
        chosen = range(self.truth.channels)[group]
        values = np.full((len(chosen), *self.truth.shape), np.nan, dtype=np.float32)
        for place, channel in enumerate(chosen):
            if channel in self.repeats:
                values[place] = self.truth.values[self.repeats[channel][0]]
        return values


class SectionFile:
    """``section.h5`` while it is written, one group of ion images after the other.

    A section of one group is written at the end, whole; of a larger one every group is on the disk before
    the next is made. Either way the same content gives the same bytes.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], file: ArrayFile | None) -> None:
        self._path, self._shape, self._file = path, shape, file
        self._stacks: dict[str, Any] = {}

    def add(self, name: str, group: slice, values: NDArray[np.float32]) -> None:
        """Write some ion images of a stack ``(channel, row, column)``."""
        if self._file is None:  # the group is the stack
            self._stacks[name] = values
            return
        if name not in self._stacks:
            self._stacks[name] = self._file.stack(name, self._shape)
        self._stacks[name][group] = values

    def finish(self, arrays: Arrays, header: Mapping[str, Any]) -> None:
        """Write everything else."""
        text = json.dumps(header, sort_keys=True)
        if self._file is None:
            write_arrays(self._path, {**arrays, **self._stacks}, {"facts": text})
            return
        for name, values in sorted(arrays.items()):
            self._file.write(name, np.asarray(values))
        self._file.note("facts", text)


@contextmanager
def section_file(path: Path, shape: tuple[int, int, int], *, whole: bool) -> Iterator[SectionFile]:
    """Open ``section.h5`` for stacks of this shape; `whole`: one group of ion images holds them."""
    if whole:
        yield SectionFile(path, shape, None)
        return
    with array_file(path) as file:
        yield SectionFile(path, shape, file)


def load_staged(folder: Path, digest: str | None = None) -> Staged:
    """Read a staged problem with its truth, for scoring or a page; a large truth stays in its file.

    Parameters
    ----------
    folder
        Holds ``section.h5``.
    digest
        Its sha256 where that is known; None: it is computed.

    Raises
    ------
    IntegrityError
        If the file is missing, damaged, or no staged problem.
    """
    path = folder / SECTION
    if not path.is_file():
        raise IntegrityError(f"{path} is missing")
    try:
        arrays, attributes = read_arrays(path, lazily=("truth", "noise_free"))
        header: Mapping[str, Any] = json.loads(attributes["facts"])
        low = unpack_image("low", arrays, header)
        if low is None:
            raise KeyError("low")
        return Staged(
            truth=unpack_image("truth", arrays, header),
            low=low,
            protocol_name=str(header["protocol"]),
            guide=unpack_guide(arrays, header),
            scale=arrays["scale"],
            counts_per_unit=arrays.get("counts_per_unit"),
            noise_free=arrays.get("noise_free"),
            uncharted=arrays.get("uncharted"),
            notes=tuple(map(str, header["notes"])),
            digest=sha256_of(path) if digest is None else digest,
            repeats={
                int(one): (int(two), str(what)) for one, two, what in header.get("repeats", ())
            },
        )
    except MSIBenchError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{path} is damaged, or no staged problem ({error})") from error


def pack_image(name: str, image: MSImage | None, arrays: Arrays, header: dict[str, Any]) -> None:
    """Put an MSImage into arrays and a header under `name`."""
    if image is not None:
        arrays[name] = image.values
        pack_frame(name, image, arrays, header, mz=image.mz)


def pack_frame(
    name: str, image: MSImage, arrays: Arrays, header: dict[str, Any], *, mz: NDArray[np.float64]
) -> None:
    """Put everything but the intensities of an MSImage into arrays and a header under `name`."""
    arrays[f"{name}_mz"] = mz
    if image.mask is not None:
        arrays[f"{name}_mask"] = image.mask.astype(np.uint8)
    header[name] = {
        "pixel_size_um": repr(float(image.pixel_size_um)),
        "ppm": image.ppm,
        "unit": image.unit,
    }


def unpack_image(name: str, arrays: Arrays, header: Mapping[str, Any]) -> MSImage | None:
    """Take an MSImage out again; None when there is none under `name`."""
    if name not in arrays:
        return None
    mask = arrays.get(f"{name}_mask")
    return MSImage(
        arrays[name],
        arrays[f"{name}_mz"],
        pixel_size_um=float(header[name]["pixel_size_um"]),
        mask=None if mask is None else mask.astype(np.bool_),
        ppm=header[name]["ppm"],
        unit=header[name]["unit"],
    )


def pack_guide(guide: GuideImage | None, arrays: Arrays, header: dict[str, Any]) -> None:
    """Put a guide into arrays and a header."""
    if guide is None:
        return
    arrays["guide"] = guide.values
    if guide.mask is not None:
        arrays["guide_mask"] = guide.mask.astype(np.uint8)
    header["guide"] = {
        "pixel_size_um": repr(float(guide.pixel_size_um)),
        "channel_names": list(guide.channel_names),
        "kind": guide.kind,
    }


def unpack_guide(arrays: Arrays, header: Mapping[str, Any]) -> GuideImage | None:
    """Take a guide out again; None when there is none."""
    if "guide" not in arrays:
        return None
    mask = arrays.get("guide_mask")
    return GuideImage(
        arrays["guide"],
        pixel_size_um=float(header["guide"]["pixel_size_um"]),
        channel_names=tuple(header["guide"]["channel_names"]),
        mask=None if mask is None else mask.astype(np.bool_),
        kind=header["guide"]["kind"],
    )


def write_problem(path: Path, problem: Problem) -> None:
    """Write the parts of a problem that do not depend on who solves it."""
    arrays: Arrays = {}
    header: dict[str, Any] = {"factor": problem.factor, "protocol": problem.protocol}
    for name in ("low", "second", "middle"):
        pack_image(name, getattr(problem, name), arrays, header)
    pack_guide(problem.guide, arrays, header)
    write_arrays(path, arrays, {"facts": json.dumps(header, sort_keys=True)})


def read_problem(path: Path, cell: Mapping[str, Any], *, scratch: Path | None = None) -> Problem:
    """Read a problem; `cell` adds device, precision and seed."""
    arrays, attributes = read_arrays(path)
    header = json.loads(attributes["facts"])
    low = unpack_image("low", arrays, header)
    assert low is not None
    if scratch is not None:
        scratch.mkdir(exist_ok=True)
    return Problem(
        low=low,
        factor=int(header["factor"]),
        guide=unpack_guide(arrays, header),
        second=unpack_image("second", arrays, header),
        middle=unpack_image("middle", arrays, header),
        device=cell.get("device", "cpu"),
        precision=cell.get("precision", "float32"),
        seed=int(cell.get("seed", 0)),
        protocol=header["protocol"],
        scratch=scratch,
    )


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write training pairs into one file."""
    arrays: Arrays = {}
    header: dict[str, Any] = {"pairs": []}
    for index, pair in enumerate(pairs):
        own: dict[str, Any] = {"section": pair.section, "factor": pair.factor}
        part: Arrays = {}
        pack_image("low", pair.low, part, own)
        pack_image("high", pair.high, part, own)
        pack_guide(pair.guide, part, own)
        arrays.update({f"{index}_{name}": values for name, values in part.items()})
        header["pairs"].append(own)
    write_arrays(path, arrays, {"facts": json.dumps(header, sort_keys=True)})


def read_pairs(path: Path) -> list[Pair]:
    """Read training pairs again."""
    arrays, attributes = read_arrays(path)
    pairs = []
    for index, header in enumerate(json.loads(attributes["facts"])["pairs"]):
        start = f"{index}_"
        part = {
            name.removeprefix(start): values
            for name, values in arrays.items()
            if name.startswith(start)
        }
        low, high = unpack_image("low", part, header), unpack_image("high", part, header)
        assert low is not None
        assert high is not None
        pairs.append(
            Pair(
                low=low,
                high=high,
                factor=int(header["factor"]),
                guide=unpack_guide(part, header),
                section=header["section"],
            )
        )
    return pairs
