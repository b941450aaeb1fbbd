"""The kernels, by the names that methods have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """One interpolation kernel."""

    title: str
    citation: str
    support: float
    """Distance in coarse pixels beyond which it is 0."""
    parameter: float = 0.0
    """Keys' a of the bicubic kernels."""


KEYS = "Keys, IEEE Trans. Acoust. Speech Signal Process. 29 (1981) 1153-1160"

KERNELS: dict[str, Kernel] = {
    "nearest": Kernel("nearest neighbour", "every pixel repeated", 0.5),
    "bilinear": Kernel("bilinear", "linear between pixel centres", 1.0),
    "bicubic": Kernel("bicubic, Keys a = -0.5 (MATLAB, PIL)", KEYS, 2.0, -0.5),
    "bicubic-075": Kernel("bicubic, Keys a = -0.75 (torch, OpenCV)", KEYS, 2.0, -0.75),
    "lanczos3": Kernel(
        "Lanczos, three lobes", "Duchon, J. Appl. Meteorol. 18 (1979) 1016-1022", 3.0
    ),
}

BACK_PROJECTED = ("bicubic", "lanczos3")
"""Kernels that are also offered with what their own low image lacks put back."""

WIENER: dict[str, object] = {
    "slope": 1.0,
    "noises": [1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3],
}
WIENER_SOURCES: dict[str, str] = {
    "slope": "Field, J. Opt. Soc. Am. A 4 (1987) 2379-2394: the power of natural images falls with the "
    "square of the frequency",
    "noises": "our choice: a range about which the data decide",
}
