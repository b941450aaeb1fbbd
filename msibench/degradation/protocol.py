"""Protocols: how a fine section becomes a low-resolution problem, and on which scale it is scored.

A protocol is a named, versioned value. Its `definition` enters the key of every cell and beside every
score, so two protocols never meet in one average; a test holds a digest of every definition, and a
changed definition needs a new version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.plain_text import few_of
from msibench.degradation.grid import crop_to_multiple, reduce_mask
from msibench.degradation.prepared import Clipped, Prepared
from msibench.degradation.quantise import quantise8
from msibench.degradation.repeats import second_measurements
from msibench.degradation.scaling import Scaling
from msibench.degradation.step import LinearStep, NoiseSource, Step
from msibench.degradation.thinning import thin_counts
from msibench.errors import ConfigurationError, DataError
from msibench.image import MSImage

if TYPE_CHECKING:
    from msibench.io.transforms import Normalisation


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Group:
    """What holds for some ion images of a section."""

    first: int
    """Number of the first channel in the section."""
    gaps: int
    """Pixels that were not measured."""
    counts: NDArray[np.float64] | None
    """Ions per unit of intensity, ``(channel,)``, where known."""
    again: NDArray[np.float32] | None
    """Second measurements of the same ions, where the protocol takes the low image from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationProtocol:
    """A degradation chain with everything that its scores depend on."""

    name: str
    """``"area-x4@1"``: family, factor, version."""
    factor: int
    """Fine pixels along each edge of a coarse one."""
    steps: tuple[Step, ...]
    """The chain, applied to the scaled truth in this order."""
    scaling: Scaling
    """How intensities come to [0, 1]."""
    quantise8: bool
    """Whether truth and low image are rounded to 8 bits, as image files are."""
    border: int
    """Fine pixels left out at each edge when scoring."""
    normalisation: str = "none"
    """``"tic"``, ``"rms"`` or ``"median"`` before the scaling, or ``"none"``."""
    repeated: bool = False
    """Whether the low image comes from a second measurement of the same ion."""
    thinned: bool = False
    """Whether truth and low image come from independent halves of the counts."""

    def definition(self) -> dict[str, object]:
        """Return all that the protocol does, ready for JSON; part of every key."""
        return {
            "name": self.name,
            "factor": self.factor,
            "normalisation": self.normalisation,
            "scaling": self.scaling.definition(),
            "steps": [step.definition() for step in self.steps],
            "quantise8": self.quantise8,
            "border": self.border,
            "grid": "crop lower and right edge to multiples of factor",
            "mask": "coarse pixel is tissue when at least half of its fine pixels are",
            **({"counts": "thinned into two halves: truth, low image"} if self.thinned else {}),
            **({"low image": "of a second measurement of the ion"} if self.repeated else {}),
        }

    def degrade(self, fine: NDArray[np.floating]) -> NDArray[np.floating]:
        """Apply the noise-free linear part of the chain, unquantised.

        Parameters
        ----------
        fine
            Scaled intensities, ``(channel, row, column)``, sides multiples of `factor`.

        Returns
        -------
        ``(channel, row / factor, column / factor)`` in the floating type of `fine`, computed in
        float64. A noise-free protocol's low image is exactly this of its truth.

        Raises
        ------
        ConfigurationError
            If there are not three axes, or a side is not a multiple of `factor`.
        """
        return self._run(fine, [step for step in self.steps if step.linear], None)

    def split(
        self, images: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Split images into what the low image fixes and what it cannot see.

        With A the noise-free linear step of the chain, ``A⁺A`` is an orthogonal projector: `seen` is
        the image of least norm with the same low image, `unseen` has a low image of zero, and the
        squared norm of an image is the sum of theirs. A is used as it is, even where the protocol puts
        noise or rounding on its result (`split_note`).

        Parameters
        ----------
        images
            ``(..., row, column)``, sides multiples of `factor`.

        Returns
        -------
        ``(seen, unseen)``, float64, the shape of `images`, ``seen + unseen == images``. An image with a
        NaN or infinite pixel is NaN in both.

        Raises
        ------
        ConfigurationError
            If a side is not a multiple of `factor`, or the chain's linear part is not one operator whose
            pseudo-inverse is known.
        """
        step = self._linear_step()
        wide = np.asarray(images, dtype=np.float64)
        if wide.ndim < 2:
            raise ConfigurationError(f"expected images (..., row, column), got shape {wide.shape}")
        stack = wide.reshape(-1, *wide.shape[-2:])
        finite = np.isfinite(stack).all(axis=(-2, -1), keepdims=True)
        clean = np.where(finite, stack, 0.0)
        seen = step.seen(clean)
        parts = (np.where(finite, part, np.nan) for part in (seen, clean - seen))
        first, second = (part.reshape(wide.shape) for part in parts)
        return first, second

    def least_norm(self, low: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return ``A⁺ low``: of all images with this low image, the one of least norm.

        The pixels repeated, where A is the area mean. ``split(x)[0] == least_norm(degrade(x))``.

        Parameters
        ----------
        low
            Finite, ``(..., row, column)``.

        Returns
        -------
        ``(..., row * factor, column * factor)``, float64.

        Raises
        ------
        ConfigurationError
            As `split` does.
        """
        wide = np.asarray(low, dtype=np.float64)
        if wide.ndim < 2:
            raise ConfigurationError(f"expected images (..., row, column), got shape {wide.shape}")
        fine = self._linear_step().least_norm(wide.reshape(-1, *wide.shape[-2:]))
        return np.asarray(fine.reshape(*wide.shape[:-2], *fine.shape[-2:]))

    @property
    def split_note(self) -> str:
        """Which steps of the chain `split` leaves out, as a sentence; empty if none."""
        left = ["normalisation"] if self.normalisation != "none" else []
        left += [str(step.definition()["step"]) for step in self.steps if not step.linear]
        left += ["rounding to 8 bits"] if self.quantise8 else []
        if not left:
            return ""
        operator = self._linear_step().definition()["step"]
        return (
            f"{self.name}: what the low image fixes is that of its {operator} alone, "
            f"without {' and '.join(left)}"
        )

    def _linear_step(self) -> LinearStep:
        linear = [step for step in self.steps if step.linear]
        if len(linear) != 1 or not isinstance(linear[0], LinearStep):
            names = [str(step.definition()["step"]) for step in linear]
            raise ConfigurationError(
                f"{self.name} cannot be split: expected one linear step that has a method `seen`, "
                f"got {', '.join(names) or 'none'}"
            )
        return linear[0]

    def prepare(
        self,
        fine: MSImage,
        *,
        seed: int = 0,
        declared_range: float | None = None,
        counts_per_unit: NDArray[np.floating] | None = None,
        norm: NDArray[np.floating] | None = None,
        repeats: Mapping[int, int] | None = None,
    ) -> Prepared:
        """Make the problem and its truth from one measured section.

        Parameters
        ----------
        fine
            The section as measured. A pixel that is NaN in any channel was not measured: it leaves
            the tissue mask and becomes 0.
        seed
            Of the noise, where the chain has any.
        declared_range
            Largest intensity that the data set can hold, where it declares one (255 for 8 bits).
        counts_per_unit
            Ions per unit of intensity, ``(channel,)``, where known.
        norm
            Norm of each pixel's whole spectrum, ``(row, column)``, for a protocol that normalises.
        repeats
            Channel → the channel that measures the same again, for a protocol that takes the low image
            from there.

        Returns
        -------
        A function of the section, the protocol and the seed alone.

        Raises
        ------
        ConfigurationError
            If the section is smaller than one coarse pixel, or an argument has the wrong shape.
        DataError
            If an intensity is infinite, or no pixel was measured in every channel.
        MissingDataError
            If the protocol normalises and `norm` is None, thins counts that are not on record, or
            needs a second measurement that a channel does not have.
        """
        (whole,) = self.prepare_in_groups(
            fine,
            [slice(0, fine.channels)],
            seed=seed,
            declared_range=declared_range,
            counts_per_unit=counts_per_unit,
            norm=norm,
            repeats=repeats,
        )
        return whole

    def prepare_in_groups(
        self,
        fine: MSImage,
        groups: Sequence[slice],
        *,
        seed: int = 0,
        declared_range: float | None = None,
        counts_per_unit: NDArray[np.floating] | None = None,
        norm: NDArray[np.floating] | None = None,
        repeats: Mapping[int, int] | None = None,
    ) -> Iterator[Prepared]:
        """Yield what `prepare` makes of each group of ion images, one in memory at a time.

        Values, masks and noise are those of the whole section: a pixel that is NaN in any channel
        leaves the mask of all, and each channel has noise of its own.

        Parameters
        ----------
        fine
            The section as measured; its intensities may stay in their file.
        groups
            Channels that go together, in order (`msibench.io.stored_stack.groups`).
        seed, declared_range, counts_per_unit, norm, repeats
            As in `prepare`, of the whole section.

        Raises
        ------
        ConfigurationError, DataError, MissingDataError
            As `prepare` does.
        """
        counts = _checked_counts(counts_per_unit, fine.channels)
        missing = _not_measured(fine, groups)
        for group in groups:
            values, mask = fine.values[group], fine.mask
            if missing is not None:
                values = np.where(missing, np.float32(0), values)
                mask = ~missing if mask is None else mask & ~missing
            yield self._prepare_group(
                replace(fine, values=values, mz=fine.mz[group], mask=mask),
                _Group(
                    first=group.start,
                    gaps=0 if missing is None else int(missing.sum()),
                    counts=None if counts is None else counts[group],
                    again=second_measurements(fine, group, repeats, missing)
                    if self.repeated
                    else None,
                ),
                seed=seed,
                declared_range=declared_range,
                norm=norm,
            )

    def _prepare_group(
        self,
        section: MSImage,
        group: _Group,
        *,
        seed: int,
        declared_range: float | None,
        norm: NDArray[np.floating] | None,
    ) -> Prepared:
        notes = []
        if group.gaps:
            notes.append(
                f"{group.gaps} pixels hold NaN: taken as not measured and left out of the mask"
            )
        counts, other = group.counts, None
        if group.again is not None:
            other = replace(section, values=group.again)
            notes.append(
                "the low image is of a second measurement of the ion, at the truth's total"
            )
        if self.thinned:
            tosses = NoiseSource(seed, self.name, section.mz, group.first)
            one, two = thin_counts(section.values, counts, tosses)
            section, other = replace(section, values=one), replace(section, values=two)
            counts = None if counts is None else counts / 2
            notes.append("truth and low image are of independent halves of the counts")
        if self.normalisation != "none":
            from msibench.io.transforms import normalise  # readers stay unloaded otherwise

            section = normalise(section, cast("Normalisation", self.normalisation), norm).image
            notes.append(f"normalised by {self.normalisation} before scaling")
        scale = self.scaling.scale(section.values, section.mask, declared_range)
        section, cropped = self._cropped(section, notes)
        truth, clipped = self._scaled(section, scale)
        seen = truth
        if other is not None:
            seen, _ = self._scaled(crop_to_multiple(other, self.factor)[0], scale)
        noise = NoiseSource(seed, self.name, truth.mz, group.first)
        count_notes: list[str] = []
        return Prepared(
            truth=truth,
            low=self._low(truth, self._run(seen.values, self.steps, noise)),
            scale=scale,
            counts_per_unit=self._scaled_counts(counts, scale, count_notes),
            cropped=cropped,
            section_notes=tuple(notes),
            clipped=clipped,
            count_notes=tuple(count_notes),
        )

    def _cropped(self, section: MSImage, notes: list[str]) -> tuple[MSImage, tuple[int, int]]:
        """Cut a section to whole coarse pixels and note what was cut."""
        rows, columns = section.shape
        section, cropped = crop_to_multiple(section, self.factor)
        if any(cropped):
            notes.append(
                f"cropped {cropped[0]} rows and {cropped[1]} columns at the lower and right edge: "
                f"{rows} x {columns} pixels are not a multiple of {self.factor}"
            )
        return section, cropped

    def _low(self, truth: MSImage, values: NDArray[np.floating]) -> MSImage:
        return replace(
            truth,
            values=(quantise8(values) if self.quantise8 else values).astype(np.float32),
            pixel_size_um=truth.pixel_size_um * self.factor,
            mask=reduce_mask(truth.mask, self.factor),
        )

    def _run(
        self,
        fine: NDArray[np.floating],
        steps: list[Step] | tuple[Step, ...],
        noise: NoiseSource | None,
    ) -> NDArray[np.floating]:
        if np.ndim(fine) != 3:
            raise ConfigurationError(
                f"expected (channel, row, column), got shape {np.shape(fine)}; "
                "add the channel axis with values[None]"
            )
        kind = fine.dtype if np.issubdtype(fine.dtype, np.floating) else np.dtype(np.float64)
        values = np.asarray(fine, dtype=np.float64)
        silent = NoiseSource(0, self.name, np.full(values.shape[0], np.nan))
        for step in steps:
            values = step.apply(values, silent if noise is None else noise)
        return np.asarray(values.astype(kind))

    def _scaled(self, section: MSImage, scale: NDArray[np.float64]) -> tuple[MSImage, Clipped]:
        values = section.values / scale[:, None, None]
        clipped = Clipped(
            int(np.count_nonzero(values < 0)), int(np.count_nonzero(values > 1.0)), values.size
        )
        values = quantise8(values) if self.quantise8 else np.clip(values, 0.0, 1.0)
        return replace(section, values=values.astype(np.float32), unit="scaled"), clipped

    def _scaled_counts(
        self,
        counts: NDArray[np.float64] | None,
        scale: NDArray[np.float64],
        notes: list[str],
    ) -> NDArray[np.float64] | None:
        if counts is None:
            return None
        if self.normalisation != "none":
            notes.append("ion counts per intensity vary between pixels once normalised: left out")
            return None
        return np.asarray(counts * scale)


def _checked_counts(
    counts: NDArray[np.floating] | None, channels: int
) -> NDArray[np.float64] | None:
    if counts is None:
        return None
    given = np.asarray(counts, dtype=np.float64)
    if given.shape != (channels,) or not np.all(given > 0):
        raise ConfigurationError(
            f"counts_per_unit must hold one positive number per channel, {(channels,)}, "
            f"got shape {given.shape}"
        )
    return given


def _not_measured(fine: MSImage, groups: Sequence[slice]) -> NDArray[np.bool_] | None:
    """Return the pixels that are NaN in some channel, ``(row, column)``; None where there are none."""
    missing = np.zeros(fine.shape, dtype=np.bool_)
    for group in groups:
        values = fine.values[group]
        if np.isinf(values).any():
            raise DataError(
                "the section holds infinite intensities; expected finite ones, or NaN where not "
                "measured"
            )
        missing |= np.isnan(values).any(axis=0)
    if missing.size and missing.all():
        names = fine.channel_names()
        empty = [names[i] for i, image in enumerate(fine.values) if np.isnan(image).all()]
        raise DataError(
            "no pixel of the section was measured in every channel: "
            + (
                f"nothing but NaN in {few_of(empty)}; leave out such ions (--mz)"
                if empty
                else "each holds NaN in some"
            )
        )
    return missing if missing.any() else None
