"""The two networks of DeepFERE.

Paper: Guo et al., "Multimodal image fusion offers better spatial resolution for mass spectrometry
imaging", Anal. Chem. 2023, 10.1021/acs.analchem.3c02002. The authors' code bears no licence: nothing
of it was used; this is written from a description of the architecture and held against recorded
outputs. One network registers the stained image and maps it to the chemistry, the other fuses the
result with the magnified MSI. Widths are arguments so that a small budget can have small networks;
the defaults are the published ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of every leaky ReLU."""


def localisable(side: int) -> bool:
    """Whether the registration's three poolings leave a pixel of an edge this long."""
    return (((side - 6) // 4 - 4) // 4) // 4 >= 1


class SpatialTransformer(nn.Module):
    """Warp an image by one affine transform that a small network reads off the image itself."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 8, 7), nn.MaxPool2d(4), nn.ReLU()),
            *(nn.Conv2d(8, 10, 5), nn.MaxPool2d(4), nn.ReLU()),
            *(nn.Conv2d(10, 8, 1), nn.MaxPool2d(4), nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
        )
        last = nn.Linear(16, 6)
        self.regressor = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def theta(self, image: Tensor) -> Tensor:
        """Return the affine matrix in normalised coordinates, ``(B, 2, 3)``; identity at first."""
        result: Tensor = self.regressor(self.features(image).flatten(1)).reshape(-1, 2, 3)
        return result

    def forward(self, image: Tensor) -> Tensor:
        """``(B, channel, row, column)`` -> the same, bilinear, zero beyond the border."""
        shape = list(image.shape)
        grid = F.affine_grid(self.theta(image), shape, align_corners=False)
        return F.grid_sample(image, grid, align_corners=False)


class RegistrationMapping(nn.Module):
    """Register the stained image, then map its colours and texture to the chemistry.

    Parameters
    ----------
    guide_channels
        Of the stained image.
    channels
        Of the MSI: 3 for an embedding, 1 for an ion image.
    width
        Of the mapping's hidden layers.
    registers
        Whether the stain is moved; otherwise it is mapped as it comes.
    """

    def __init__(
        self,
        guide_channels: int = 3,
        channels: int = 3,
        width: int = 64,
        *,
        registers: bool = True,
    ) -> None:
        super().__init__()
        self.registers = registers
        self.register = SpatialTransformer(guide_channels)
        self.head = nn.Conv2d(guide_channels, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, stain: Tensor) -> tuple[Tensor, Tensor]:
        """Return the registered stain and the mapped image, both on the stain's grid."""
        registered = self.register(stain) if self.registers else stain
        x = registered
        for layer in (self.head, *self.body, self.tail):
            x = F.leaky_relu(layer(x), SLOPE)
        return registered, x


class Conv(nn.Conv2d):
    """Convolution with reflected borders that keeps the size (or halves it, rounded up)."""

    def __init__(self, before: int, after: int, kernel_size: int, stride: int = 1) -> None:
        pad = kernel_size // 2
        super().__init__(
            before,
            after,
            kernel_size,
            stride,
            pad,
            padding_mode="reflect" if pad else "zeros",
        )


def centre_crop(image: Tensor, rows: int, columns: int) -> Tensor:
    """Cut the middle ``rows x columns`` out of ``(B, channel, row, column)``."""
    top, left = (image.shape[-2] - rows) // 2, (image.shape[-1] - columns) // 2
    return image[..., top : top + rows, left : left + columns]


class Scale(nn.Module):
    """One level of the hourglass and everything below it."""

    def __init__(self, before: int, width: int, skip: int, depth: int) -> None:
        super().__init__()
        self.skip = Conv(before, skip, 1)
        self.down = Conv(before, width, 3, stride=2)
        self.refine = Conv(width, width, 3)
        self.below = Scale(width, width, skip, depth - 1) if depth > 1 else None
        self.merge = Conv(skip + width, width, 3)
        self.mix = Conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, before, row, column)`` -> ``(B, width, row, column)``."""
        skipped = F.leaky_relu(self.skip(x), SLOPE)
        deep = F.leaky_relu(self.down(x), SLOPE)
        deep = F.leaky_relu(self.refine(deep), SLOPE)
        if self.below is not None:
            deep = self.below(deep)
        deep = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
        # An odd side grows by one pixel on its way down and up again.
        rows, columns = (min(skipped.shape[axis], deep.shape[axis]) for axis in (-2, -1))
        joined = torch.cat(
            [centre_crop(skipped, rows, columns), centre_crop(deep, rows, columns)], 1
        )
        return F.leaky_relu(self.mix(F.leaky_relu(self.merge(joined), SLOPE)), SLOPE)


class FusionNetwork(nn.Module):
    """Hourglass on the magnified MSI and the mapped stain, and a head that revises its output.

    Parameters
    ----------
    channels
        Of the MSI; the output has twice as many: fused, then revised.
    width, skip_width, scales
        Channels down and up, channels of the skips, levels.
    """

    def __init__(
        self, channels: int = 3, width: int = 128, skip_width: int = 5, scales: int = 5
    ) -> None:
        super().__init__()
        self.channels = channels
        self.hourglass = Scale(2 * channels, width, skip_width, scales)
        self.to_image = Conv(width, channels, 1)
        self.revise = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(16, channels, 3, padding=1),
        )

    def forward(self, magnified: Tensor, mapped: Tensor) -> Tensor:
        """Two ``(B, channels, row, column)`` -> ``(B, 2 * channels, row, column)``."""
        fused = self.fuse(magnified, mapped)
        return torch.cat([fused, self.revise(fused)], 1)

    def fuse(self, magnified: Tensor, mapped: Tensor) -> Tensor:
        """Return the first half of the output alone, ``(B, channels, row, column)``."""
        joined = torch.cat([magnified, mapped], 1)
        return torch.sigmoid(self.to_image(self.hourglass(joined)))


def smallest_side(scales: int) -> int:
    """Return the shortest edge, in fine pixels, that both networks can take."""
    side: int = 2 * 2**scales
    while not localisable(side):
        side += 1
    return side
