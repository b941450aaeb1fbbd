"""Write imzML pairs: centroids, continuous or processed, with everything that readers need.

pyimzML's writer leaves out the pixel size; this one writes it with its unit, the maximum pixel
counts, polarity, UUID and SHA-1, coordinates from 1, and, for images that a method predicted, says
so in ``dataProcessing``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from msibench.errors import ConfigurationError, StoreError
from msibench.io.partial import SUFFIX, sweep
from msibench.owners import owned_name

Mode = Literal["continuous", "processed"]

TYPE_TERMS = {
    "<f4": ("MS", "MS:1000521", "32-bit float"),
    "<f8": ("MS", "MS:1000523", "64-bit float"),
    "<i4": ("IMS", "IMS:1000141", "32-bit integer"),
    "<i8": ("IMS", "IMS:1000142", "64-bit integer"),
}
POLARITY_TERMS = {
    "positive": ("MS:1000130", "positive scan"),
    "negative": ("MS:1000129", "negative scan"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFormat:
    """How the arrays of an imzML pair are stored."""

    mz: DTypeLike = np.float64
    """float32, float64, int32 or int64."""
    intensity: DTypeLike = np.float32
    """Likewise."""
    compress: bool = False
    """With zlib."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the intensities of an imzML pair come from."""

    predicted: str = ""
    """Name of the method that made them; empty: they were measured."""
    provenance: Mapping[str, object] | None = None
    """Stored as JSON in a ``userParam`` of the data processing."""


class ImzMLWriter:
    """Write spectra one by one; use as a context manager, which completes the pair at its end.

    Both halves are written beside and renamed into place, so that an interrupted export never
    leaves a pair that looks complete.

    Parameters
    ----------
    path
        The .imzML file; the .ibd file gets the same stem.
    mode
        ``"continuous"``: one m/z axis, stored once; ``"processed"``: an axis for every spectrum.
    shape
        ``(row, column)`` for the maximum pixel counts.
    pixel_size_um
        Edge length of a pixel in µm; left out when NaN.
    arrays
        Number types and compression.
    identifier
        UUID; None: a random one. Give one for files that must be the same byte for byte.
    origin
        Where the intensities come from.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        shape: tuple[int, int],
        mode: Mode = "processed",
        pixel_size_um: float = math.nan,
        polarity: Literal["positive", "negative"] | None = None,
        arrays: ArrayFormat | None = None,
        identifier: uuid.UUID | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".imzml":
            raise ConfigurationError(
                f"an imzML file's name must end in .imzML, got {self.path.name!r}"
            )
        if mode not in ("continuous", "processed"):
            raise ConfigurationError(f"mode must be continuous or processed, got {mode!r}")
        self.mode, self.shape, self.pixel_size_um = mode, shape, float(pixel_size_um)
        arrays = arrays or ArrayFormat()
        self.polarity, self.compress = polarity, arrays.compress
        self.mz_dtype, self.intensity_dtype = (
            np.dtype(dtype).newbyteorder("<") for dtype in (arrays.mz, arrays.intensity)
        )
        for dtype in (self.mz_dtype, self.intensity_dtype):
            if dtype.str not in TYPE_TERMS:
                raise ConfigurationError(
                    f"imzML arrays are float32, float64, int32 or int64, got {dtype.name}"
                )
        self.identifier = identifier or uuid.uuid4()
        self.origin = origin or Origin()
        self.ibd_path = self.path.with_suffix(".ibd")
        self._places: list[tuple[int, int, int, int, int, int, int]] = []
        self._axis: tuple[NDArray[np.floating], int, int] | None = None
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._position = 0
        self._partials: dict[Path, Path] = {}
        for target in (self.path, self.ibd_path):
            sweep(target)
            self._partials[target] = target.with_name(f"{owned_name(target.name)}{SUFFIX}")
        try:
            self._ibd: BinaryIO = self._partials[self.ibd_path].open("wb")
        except OSError as error:
            raise StoreError(f"{self.ibd_path} cannot be written: {error.strerror}") from error
        self._append(self.identifier.bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._let_go()

    def add(self, row: int, column: int, mz: ArrayLike, intensity: ArrayLike) -> None:
        """Append the spectrum of pixel ``(row, column)``, counted from 0.

        Raises
        ------
        ConfigurationError
            The arrays differ in length, the pixel lies outside `shape`, or a continuous file's m/z
            axis changes.
        """
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            raise ConfigurationError(
                f"pixel ({row}, {column}) lies outside the grid of {self.shape}"
            )
        masses = np.ascontiguousarray(mz, dtype=self.mz_dtype)
        values = np.ascontiguousarray(intensity, dtype=self.intensity_dtype)
        if masses.ndim != 1 or masses.shape != values.shape:
            raise ConfigurationError(
                f"a spectrum needs as many m/z as intensities, got {masses.shape} and {values.shape}"
            )
        if self.mode == "processed":
            mz_offset, mz_stored = self._store(masses)
        elif self._axis is None:
            mz_offset, mz_stored = self._store(masses)
            self._axis = (masses.copy(), mz_offset, mz_stored)
        else:
            axis, mz_offset, mz_stored = self._axis
            if axis is not mz and not np.array_equal(axis, masses):
                raise ConfigurationError(
                    "a continuous imzML file has one m/z axis; write mode='processed' where the "
                    "spectra differ"
                )
        offset, stored = self._store(values)
        self._places.append((row, column, masses.size, mz_offset, mz_stored, offset, stored))

    def close(self) -> None:
        """Write the XML half and put both halves in place."""
        try:
            self._ibd.close()
            partial = self._partials[self.path]
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.write(self._head())
                for number, place in enumerate(self._places):
                    file.write(
                        _SPECTRUM.format(number + 1, number, place[1] + 1, place[0] + 1, *place[2:])
                    )
                file.write("    </spectrumList>\n  </run>\n</mzML>\n")
            self._partials[self.ibd_path].replace(self.ibd_path)
            partial.replace(self.path)
        except OSError as error:
            self._let_go()
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from error

    def _let_go(self) -> None:
        """Remove unfinished files."""
        with suppress(OSError):  # what is still to be written has no room
            self._ibd.close()
        for partial in self._partials.values():
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _store(self, values: NDArray[np.floating]) -> tuple[int, int]:
        raw = values.tobytes()
        return self._append(zlib.compress(raw) if self.compress and raw else raw)

    def _append(self, raw: bytes) -> tuple[int, int]:
        start = self._position
        self._ibd.write(raw)
        self._digest.update(raw)
        self._position += len(raw)
        return start, len(raw)

    def _head(self) -> str:
        from msibench import __version__

        accession = "IMS:1000030" if self.mode == "continuous" else "IMS:1000031"
        polarity = ""
        if self.polarity is not None:
            if self.polarity not in POLARITY_TERMS:
                raise ConfigurationError(
                    f"polarity must be positive, negative or None, got {self.polarity!r}"
                )
            polarity = _term("MS", *POLARITY_TERMS[self.polarity])
        sizes = ""
        if math.isfinite(self.pixel_size_um):
            unit = ' unitCvRef="UO" unitAccession="UO:0000017" unitName="micrometer"'
            for code, name in (("46", "pixel size (x)"), ("47", "pixel size y")):
                sizes += _term("IMS", f"IMS:10000{code}", name, repr(self.pixel_size_um), unit)
            for code, axis, count in (("44", "x", self.shape[1]), ("45", "y", self.shape[0])):
                length = str(
                    round(count * self.pixel_size_um)
                )  # a whole number, says the vocabulary
                sizes += _term("IMS", f"IMS:10000{code}", f"max dimension {axis}", length, unit)
        processing = _term("MS", "MS:1000544", "Conversion to mzML")
        if self.origin.predicted:
            processing += f'        <userParam name="predicted intensities" value={quoteattr(self.origin.predicted)}/>\n'
        if self.origin.provenance is not None:
            text = json.dumps(self.origin.provenance, sort_keys=True, default=str)
            processing += (
                f'        <userParam name="msibench:provenance" value={quoteattr(text)}/>\n'
            )
        return _HEAD.format(
            uuid=f"{{{self.identifier}}}",
            sha1=self._digest.hexdigest(),
            mode=_term("IMS", accession, self.mode),
            polarity=polarity,
            mz_type=_term(*TYPE_TERMS[self.mz_dtype.str]),
            intensity_type=_term(*TYPE_TERMS[self.intensity_dtype.str]),
            compression=_term("MS", "MS:1000574", "zlib compression")
            if self.compress
            else _term("MS", "MS:1000576", "no compression"),
            version=__version__,
            columns=self.shape[1],
            rows=self.shape[0],
            sizes=sizes,
            processing=processing,
            count=len(self._places),
        )


def _term(reference: str, accession: str, name: str, value: str = "", more: str = "") -> str:
    return (
        f'      <cvParam cvRef="{reference}" accession="{accession}" name="{name}" '
        f'value="{value}"{more}/>\n'
    )


_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<mzML xmlns="http://psi.hupo.org/ms/mzml" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://psi.hupo.org/ms/mzml http://psidev.info/files/ms/mzML/xsd/mzML1.1.0_idx.xsd" version="1.1">
  <cvList count="3">
    <cv id="MS" fullName="Proteomics Standards Initiative Mass Spectrometry Ontology" version="4.1.0" URI="https://raw.githubusercontent.com/hupo-psi/psi-ms-cv/master/psi-ms.obo"/>
    <cv id="UO" fullName="Unit Ontology" version="2020-03-10" URI="http://ontologies.berkeleybop.org/uo.obo"/>
    <cv id="IMS" fullName="Mass Spectrometry Imaging Ontology" version="1.1.0" URI="https://raw.githubusercontent.com/imzML/imzML/master/imagingMS.obo"/>
  </cvList>
  <fileDescription>
    <fileContent>
      <cvParam cvRef="MS" accession="MS:1000579" name="MS1 spectrum" value=""/>
      <cvParam cvRef="MS" accession="MS:1000127" name="centroid spectrum" value=""/>
      <cvParam cvRef="IMS" accession="IMS:1000080" name="universally unique identifier" value="{uuid}"/>
      <cvParam cvRef="IMS" accession="IMS:1000091" name="ibd SHA-1" value="{sha1}"/>
{mode}    </fileContent>
  </fileDescription>
  <referenceableParamGroupList count="3">
    <referenceableParamGroup id="mzArray">
{compression}      <cvParam cvRef="MS" accession="MS:1000514" name="m/z array" value="" unitCvRef="MS" unitAccession="MS:1000040" unitName="m/z"/>
{mz_type}      <cvParam cvRef="IMS" accession="IMS:1000101" name="external data" value="true"/>
    </referenceableParamGroup>
    <referenceableParamGroup id="intensityArray">
{compression}      <cvParam cvRef="MS" accession="MS:1000515" name="intensity array" value="" unitCvRef="MS" unitAccession="MS:1000131" unitName="number of detector counts"/>
{intensity_type}      <cvParam cvRef="IMS" accession="IMS:1000101" name="external data" value="true"/>
    </referenceableParamGroup>
    <referenceableParamGroup id="spectrum1">
      <cvParam cvRef="MS" accession="MS:1000579" name="MS1 spectrum" value=""/>
      <cvParam cvRef="MS" accession="MS:1000511" name="ms level" value="1"/>
      <cvParam cvRef="MS" accession="MS:1000127" name="centroid spectrum" value=""/>
{polarity}    </referenceableParamGroup>
  </referenceableParamGroupList>
  <softwareList count="1">
    <software id="msibench" version="{version}">
      <cvParam cvRef="MS" accession="MS:1000799" name="custom unreleased software tool" value="msibench"/>
    </software>
  </softwareList>
  <scanSettingsList count="1">
    <scanSettings id="scanSettings1">
      <cvParam cvRef="IMS" accession="IMS:1000401" name="top down" value=""/>
      <cvParam cvRef="IMS" accession="IMS:1000413" name="flyback" value=""/>
      <cvParam cvRef="IMS" accession="IMS:1000480" name="horizontal line scan" value=""/>
      <cvParam cvRef="IMS" accession="IMS:1000491" name="linescan left right" value=""/>
      <cvParam cvRef="IMS" accession="IMS:1000042" name="max count of pixels x" value="{columns}"/>
      <cvParam cvRef="IMS" accession="IMS:1000043" name="max count of pixels y" value="{rows}"/>
{sizes}      <userParam name="msibench:grid" value="declared"/>
    </scanSettings>
  </scanSettingsList>
  <instrumentConfigurationList count="1">
    <instrumentConfiguration id="instrumentConfiguration1"/>
  </instrumentConfigurationList>
  <dataProcessingList count="1">
    <dataProcessing id="dataProcessing1">
      <processingMethod order="0" softwareRef="msibench">
{processing}      </processingMethod>
    </dataProcessing>
  </dataProcessingList>
  <run defaultInstrumentConfigurationRef="instrumentConfiguration1" id="run1">
    <spectrumList count="{count}" defaultDataProcessingRef="dataProcessing1">
"""

_SPECTRUM = """      <spectrum id="Scan={0}" defaultArrayLength="0" index="{1}">
        <referenceableParamGroupRef ref="spectrum1"/>
        <scanList count="1">
          <cvParam cvRef="MS" accession="MS:1000795" name="no combination" value=""/>
          <scan instrumentConfigurationRef="instrumentConfiguration1">
            <cvParam cvRef="IMS" accession="IMS:1000050" name="position x" value="{2}"/>
            <cvParam cvRef="IMS" accession="IMS:1000051" name="position y" value="{3}"/>
          </scan>
        </scanList>
        <binaryDataArrayList count="2">
          <binaryDataArray encodedLength="0">
            <referenceableParamGroupRef ref="mzArray"/>
            <cvParam cvRef="IMS" accession="IMS:1000102" name="external offset" value="{5}"/>
            <cvParam cvRef="IMS" accession="IMS:1000103" name="external array length" value="{4}"/>
            <cvParam cvRef="IMS" accession="IMS:1000104" name="external encoded length" value="{6}"/>
            <binary/>
          </binaryDataArray>
          <binaryDataArray encodedLength="0">
            <referenceableParamGroupRef ref="intensityArray"/>
            <cvParam cvRef="IMS" accession="IMS:1000102" name="external offset" value="{7}"/>
            <cvParam cvRef="IMS" accession="IMS:1000103" name="external array length" value="{4}"/>
            <cvParam cvRef="IMS" accession="IMS:1000104" name="external encoded length" value="{8}"/>
            <binary/>
          </binaryDataArray>
        </binaryDataArrayList>
      </spectrum>
"""
