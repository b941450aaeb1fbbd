"""A per-pixel network from guide colour and place to ion intensity, held to the coarse pixels' means.

Paper: de Lutio et al., Guided Super-Resolution as Pixel-to-Pixel Transformation, ICCV 2019. Written from
the paper. Here all ions of a section are fitted together (stacked parameters, one step for all), each
from the same start and on the same batches, so an ion's result does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msibench import Problem, Skip, tell_progress
from msibench.errors import ConfigurationError
from msibench.training.adam import Adam
from msibench.training.kept_curves import six_digits
from msibench.training.threads import one_thread_each
from msibench_baselines.section import Section

ROWS_AT_A_TIME = 65_536
"""Fine pixels that the fitted networks are run on at a time."""


class PixTransform:
    """Fit a small network per ion whose mean over each coarse pixel's footprint is what was measured.

    Parameters
    ----------
    hidden
        Widths: of the two branches (place, colour), of the layer after their sum, of the last but one.
    iterations
        Steps of Adam.
    batch
        Coarse pixels per step.
    learning_rate
        Of Adam.
    weight_decay
        Of the place branch, the colour branch and the head.
    coordinates
        Let the network see the place; without it, equal colours get equal intensities.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int],
        iterations: int,
        batch: int,
        learning_rate: float,
        weight_decay: Sequence[float],
        coordinates: bool = True,
    ) -> None:
        if len(hidden) != 3 or min(hidden) < 1 or len(weight_decay) != 3:
            raise ConfigurationError(
                f"expected three widths and three weight decays, got {list(hidden)} and "
                f"{list(weight_decay)}"
            )
        if iterations < 1 or batch < 1:
            raise ConfigurationError(
                f"iterations and batch must be at least 1, got {iterations} and {batch}"
            )
        self.hidden, self.weight_decay = tuple(hidden), tuple(weight_decay)
        self.iterations, self.batch, self.learning_rate = iterations, batch, learning_rate
        self.coordinates = coordinates
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        section = Section.of(problem)
        if isinstance(section, Skip):
            return section
        which = list(section.ions.with_signal)
        painted = np.zeros((problem.low.channels, *problem.fine_shape), dtype=np.float32)
        if which:
            with one_thread_each():  # the same bytes on any number of threads
                painted[which] = self._fit(section, which, problem)
        return section.restore(painted)

    def report(self) -> Mapping[str, object]:
        """Return the mean squared error over the last batches, per ion, on standardised intensities."""
        return self._report

    def _fit(self, section: Section, which: list[int], problem: Problem) -> NDArray[np.float32]:
        device = torch.device(problem.device)
        place, colour = (torch.from_numpy(x).to(device) for x in _inputs(section))
        if not self.coordinates:
            place = torch.zeros_like(place)
        known = (section.ions.known & section.usable)[which]
        target, centre, spread = _standardised(section.ions.values[which], known)
        targets = torch.from_numpy(target).to(device)
        weights = torch.from_numpy(known.astype(np.float32)).to(device)
        # Coarse pixels from which something may be learned, by place, whatever the ions miss there.
        pixels = np.argwhere(section.usable)
        footprint = torch.arange(section.factor, device=device)
        generator = np.random.default_rng(problem.seed)
        network = _StackedNetwork(len(which), colour.shape[0], self.hidden, problem.seed, device)
        optimisers = [
            Adam(parameters, learning_rate=self.learning_rate, weight_decay=decay)
            for parameters, decay in zip(network.branches(), self.weight_decay, strict=True)
        ]
        recent: list[NDArray[np.float32]] = []
        for step in range(self.iterations):
            tell_progress(step, self.iterations, "steps")
            chosen = pixels[generator.integers(len(pixels), size=min(self.batch, len(pixels)))]
            row, column = torch.from_numpy(chosen.T.copy()).to(device)
            fine_rows = (row[:, None] * section.factor + footprint)[:, :, None]
            fine_columns = (column[:, None] * section.factor + footprint)[:, None, :]
            # (channel, batch, factor, factor) -> (batch * footprint, channel)
            seen = [x[:, fine_rows, fine_columns].flatten(1).T for x in (place, colour)]
            fine = network(*seen)  # (ion, batch * footprint)
            coarse = fine.reshape(len(which), len(chosen), -1).mean(2)
            weight = weights[:, row, column]
            error = (weight * (coarse - targets[:, row, column]).square()).mean(1)
            for optimiser in optimisers:
                optimiser.zero_grad()
            error.sum().backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            if self.iterations - step <= 100:
                recent.append(error.detach().cpu().numpy())
        self._report = {
            "channels": which,
            "final_mse": six_digits(np.mean(recent, axis=0)),
        }
        flat = [x.flatten(1).T for x in (place, colour)]
        with torch.no_grad():
            parts = [
                network(*(x[start : start + ROWS_AT_A_TIME] for x in flat)).cpu()
                for start in range(0, len(flat[0]), ROWS_AT_A_TIME)
            ]
        images = torch.cat(parts, 1).numpy().reshape(len(which), *problem.fine_shape)
        return np.asarray(images * spread[:, None, None] + centre[:, None, None], dtype=np.float32)


class _StackedNetwork:
    """One network per ion with equal first parameters: ``(ion, in, out)`` matrices."""

    def __init__(
        self, ions: int, colours: int, hidden: tuple[int, ...], seed: int, device: torch.device
    ) -> None:
        narrow, wide, last = hidden
        generator = torch.Generator().manual_seed(seed)

        def layer(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
            bound = inputs**-0.5  # as torch.nn.Linear
            weight, bias = (
                ((torch.rand(shape, generator=generator) * 2 - 1) * bound)
                .repeat(ions, 1, 1)
                .to(device)
                .requires_grad_()
                for shape in ((inputs, outputs), (1, outputs))
            )
            return weight, bias

        self.place = (layer(2, narrow), layer(narrow, wide))
        self.colour = (layer(colours, narrow), layer(narrow, wide))
        self.head = (layer(wide, last), layer(last, 1))

    def branches(self) -> list[list[Tensor]]:
        """Return the parameters of the place branch, the colour branch and the head."""
        return [[x for pair in b for x in pair] for b in (self.place, self.colour, self.head)]

    def __call__(self, place: Tensor, colour: Tensor) -> Tensor:
        """``(pixel, 2)`` and ``(pixel, colour)`` -> ``(ion, pixel)``."""

        def branch(x: Tensor, layers: tuple[tuple[Tensor, Tensor], ...]) -> Tensor:
            hidden = torch.relu(_linear(x, layers[0]))
            return _linear(hidden, layers[1])

        joined = torch.relu(branch(place, self.place) + branch(colour, self.colour))
        return _linear(torch.relu(_linear(joined, self.head[0])), self.head[1])[..., 0]


def _linear(x: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
    """``(pixel, in)`` or ``(ion, pixel, in)`` -> ``(ion, pixel, out)``."""
    return x @ layer[0] + layer[1]


def _inputs(section: Section) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return place in [-0.5, 0.5] and standardised colour, ``(channel, row, column)``."""
    rows, columns = section.guide.shape[1:]
    place = np.stack(
        np.meshgrid(
            (np.arange(rows) + 0.5) / rows - 0.5, (np.arange(columns) + 0.5) / columns - 0.5,
            indexing="ij",
        )
    )  # fmt: skip
    return place.astype(np.float32), section.standardised_guide()


def _standardised(
    values: NDArray[np.float32], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return each ion with mean 0 and deviation 1 over its known pixels; and both."""
    count = np.maximum(known.sum((1, 2)), 1)
    centre = (values * known).sum((1, 2)) / count
    difference = np.where(known, values - centre[:, None, None], 0)
    spread = np.sqrt((difference**2).sum((1, 2)) / count)
    spread = np.where(spread > 1e-8, spread, 1)
    scaled = (difference / spread[:, None, None]).astype(np.float32)
    return scaled, centre.astype(np.float32), spread.astype(np.float32)
