"""Rows of one metric value each, arranged as an array: image × method × measure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.contracts.metric import Direction
from msibench.errors import DataError

COLUMNS = (
    "method", "dataset", "section", "protocol", "mz_set", "seed", "control", "channel", "mz",
    "metric", "metric_version", "region", "direction", "value", "reason",
)  # fmt: skip
"""What a table of rows holds, one row per m/z and metric."""

SPECIMEN = "specimen"
"""A column that rows may have: the animal, biopsy or preparation that the section was cut from. Without it,
or where it is empty, every section is a specimen."""

IMAGE_KEY = ("dataset", "section", "mz_set", "channel")
"""Columns that name an ion image inside one protocol."""


NOTHING_PRESENT = "nothing is present: the truth is zero everywhere"
"""Reason of every value of an ion image without a count: it enters no mean and is counted."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cube:
    """All values of one protocol, in an order that does not depend on the order of the rows."""

    protocol: str
    images: pd.DataFrame
    """One row per ion image: the columns of `IMAGE_KEY`, ``mz`` and ``specimen``, sorted. Channel -1
    stands for a number that a section has as a whole."""
    sections: NDArray[np.intp]
    """Number of the section that an image belongs to, ``(image,)``."""
    specimens: NDArray[np.intp]
    """Number of the specimen that its section was cut from, ``(image,)``."""
    methods: tuple[str, ...]
    measures: tuple[tuple[str, str], ...]
    """``(metric, region)``."""
    directions: tuple[Direction, ...]
    values: NDArray[np.float64]
    """``(image, method, measure)``, the mean over seeds; NaN where there is no row or any seed's
    value is undefined."""
    present: NDArray[np.bool_]
    """Where there is at least one row, same shape."""

    def measure(self, metric: str, region: str) -> int | None:
        """Return the number of a measure, or None where no method has it."""
        key = (metric, region)
        return self.measures.index(key) if key in self.measures else None

    def method(self, name: str) -> int:
        """Return the number of a method.

        Raises
        ------
        DataError
            If the protocol has no row of it.
        """
        if name not in self.methods:
            raise DataError(
                f"Protocol {self.protocol!r} has no row of method {name!r}; "
                f"it has {', '.join(self.methods) or 'none'}. Run it first, or name another."
            )
        return self.methods.index(name)

    def ion_images(self) -> Cube:
        """Return the part that holds one value per ion image, without the per-section numbers."""
        return self.part((self.images["channel"] >= 0).to_numpy())

    def part(self, images: NDArray[np.bool_]) -> Cube:
        """Return the part that holds these images, ``(image,)``."""
        return replace(
            self,
            images=self.images[images].reset_index(drop=True),
            sections=self.sections[images],
            specimens=self.specimens[images],
            values=self.values[images],
            present=self.present[images],
        )


def check_rows(rows: pd.DataFrame) -> None:
    """Reject a table that is not a table of rows.

    Raises
    ------
    DataError
        If a column is missing, a measure has two versions or two directions, or a value occurs twice.
    """
    absent = [name for name in COLUMNS if name not in rows.columns]
    if absent:
        raise DataError(
            f"rows must have the columns {', '.join(COLUMNS)}; missing: {', '.join(absent)}"
        )
    defined = rows[["metric", "region", "metric_version", "direction"]].drop_duplicates()
    for column, advice in (
        ("metric_version", "re-score the older ones with `msibench score`"),
        ("direction", "one of them is wrong"),
    ):
        varied = defined.drop_duplicates(["metric", "region", column]).groupby("metric")[column]
        for metric, seen in varied:
            if seen.nunique() > 1:
                raise DataError(
                    f"Metric {metric!r} comes with {column} {', '.join(map(str, sorted(set(seen))))}"
                    f" in one table: they must not be averaged; {advice}"
                )


def cubes(rows: pd.DataFrame) -> Iterator[Cube]:
    """Yield one cube per protocol, by name; without wrong-guide controls and images of nothing."""
    check_rows(rows)
    real = rows[rows["control"].fillna("").astype(str) == ""]
    nothing = real["reason"] == NOTHING_PRESENT
    if nothing.any():
        keys = ["protocol", *IMAGE_KEY]
        empty = pd.MultiIndex.from_frame(real.loc[nothing, keys].drop_duplicates())
        real = real[~pd.MultiIndex.from_frame(real[keys]).isin(empty)]
    for protocol in sorted(real["protocol"].unique()):
        yield _cube(real[real["protocol"] == protocol], str(protocol))


def images_of_nothing(rows: pd.DataFrame) -> int:
    """Return the number of ion images on which nothing is present."""
    keys = ["protocol", *IMAGE_KEY]
    return len(rows.loc[rows["reason"] == NOTHING_PRESENT, keys].drop_duplicates())


def _cube(rows: pd.DataFrame, protocol: str) -> Cube:
    image, images = _number(rows, list(IMAGE_KEY))
    method, methods = _number(rows, ["method"])
    measure, measures = _number(rows, ["metric", "region"])
    seed, seeds = _number(rows, ["seed"])
    shape = (len(images), len(methods), len(measures))
    place = np.ravel_multi_index((image, method, measure), shape)
    _refuse_doubles(rows, place * len(seeds) + seed)

    size = int(np.prod(shape))
    value = rows["value"].to_numpy(np.float64)
    count = np.bincount(place, minlength=size).reshape(shape)
    with np.errstate(invalid="ignore"):  # +inf and -inf over the seeds of one image: undefined
        total = np.bincount(place, weights=value, minlength=size).reshape(shape)
        values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    values[np.isneginf(values)] = np.nan

    mz = pd.Series(rows["mz"].to_numpy(np.float64)).groupby(image).max()
    images["mz"] = mz.reindex(range(len(images))).to_numpy()
    section = images.groupby(["dataset", "section"], sort=True).ngroup().to_numpy()
    images[SPECIMEN] = images["section"]
    if SPECIMEN in rows:
        stated = pd.Series(rows[SPECIMEN].to_numpy()).groupby(image).first()
        images[SPECIMEN] = images["section"].mask(stated != "", stated)
    specimen = images.groupby(["dataset", SPECIMEN], sort=True).ngroup().to_numpy()
    direction = pd.Series(rows["direction"].to_numpy()).groupby(measure).first()
    return Cube(
        protocol=protocol,
        images=images,
        sections=section.astype(np.intp),
        specimens=specimen.astype(np.intp),
        methods=tuple(str(name) for name in methods["method"]),
        measures=tuple((str(m), str(r)) for m, r in measures.itertuples(index=False)),
        directions=tuple(cast(Direction, direction[index]) for index in range(len(measures))),
        values=values,
        present=count > 0,
    )


def _number(rows: pd.DataFrame, columns: list[str]) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """Give the distinct entries of some columns numbers, in sorted order."""
    codes = np.zeros(len(rows), dtype=np.int64)
    for column in columns:  # sorting each column's few distinct entries is cheaper than the rows
        part, entries = pd.factorize(rows[column], sort=True, use_na_sentinel=False)
        codes = codes * len(entries) + part
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    entries_of = rows[columns].iloc[first].reset_index(drop=True)
    return numbers.astype(np.intp), entries_of


def _refuse_doubles(rows: pd.DataFrame, place: NDArray[np.int64]) -> None:
    _, first, count = np.unique(place, return_index=True, return_counts=True)
    if (count > 1).any():
        row = rows.iloc[int(first[int(np.argmax(count > 1))])]
        raise DataError(
            f"The value of {row['metric']!r} ({row['region']}) of method {row['method']!r} on "
            f"{row['dataset']}/{row['section']} channel {row['channel']} seed {row['seed']} occurs more than once; keep one row per m/z and metric"
        )
