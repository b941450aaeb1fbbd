"""Call one metric of piq or pyiqa the way msibench calls its own."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from msibench.metrics.pairs import (
    ImagePair,
    ImagesT,
    Precision,
    check_data_range,
    pair_images,
)
from msibench_iqa.offline import without_network

if TYPE_CHECKING:
    from torch import Tensor

COLOUR = frozenset({"vsi", "mdsi", "lpips", "dists", "pieapp", "content_loss", "style_loss"})
"""Metrics of piq that want three colours; all of pyiqa's get them."""
GREY_OPTIONS = {"fsim": {"chromatic": False}}
NETWORKS = {
    "lpips": "LPIPS",
    "dists": "DISTS",
    "pieapp": "PieAPP",
    "content_loss": "ContentLoss",
    "style_loss": "StyleLoss",
}
"""Metrics of piq that are classes with pretrained weights."""


def measure(
    test: ImagesT,
    reference: ImagesT,
    *,
    package: str,
    metric: str,
    data_range: float = 1.0,
    mask: Any = None,
    dtype: Precision | None = None,
) -> ImagesT:
    """Return a metric of piq or pyiqa, one float64 value per image.

    Parameters
    ----------
    test, reference
        Grey images ``(..., row, column)``, numpy arrays or torch tensors.
    package, metric
        ``"piq"`` or ``"pyiqa"``, and the name in it.
    data_range
        Distance between the smallest and the largest possible intensity; images are divided by it and
        clipped to 0..1, as both packages demand.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in; float64 for piq, float32 for pyiqa unless told otherwise.

    Returns
    -------
    Values ``(...)``; NaN where an image has NaN or the package refuses it. See `why_undefined`.

    Raises
    ------
    MissingWeightsError
        If the metric's weights are not on this machine; nothing is downloaded.
    """
    pair, values, _ = _measured(test, reference, package, metric, data_range, mask, dtype)
    if pair.xp is not np:
        values = pair.xp.as_tensor(values, device=pair.test.device)
    shaped: ImagesT = pair.values(values)
    return shaped


def why_undefined(
    test: Any,
    reference: Any,
    *,
    package: str,
    metric: str,
    data_range: float = 1.0,
    mask: Any = None,
    dtype: Precision | None = None,
    **_: Any,
) -> list[str]:
    """Return for each image why `measure` is NaN, in the package's own words; empty where it is not."""
    pair, values, refusals = _measured(test, reference, package, metric, data_range, mask, dtype)
    own = pair.reasons()
    missing = np.where(np.isfinite(values), "", f"{package} returns {metric} = NaN or infinity")
    return [a or b or c for a, b, c in zip(own, refusals, missing.tolist(), strict=True)]


def _measured(
    test: Any,
    reference: Any,
    package: str,
    metric: str,
    data_range: float,
    mask: Any,
    dtype: Precision | None,
) -> tuple[ImagePair, Any, list[str]]:
    """Return the pair, its values (numpy) and the package's message where it refused."""
    scale = 1 / check_data_range(data_range)
    precision: Precision = dtype or ("float64" if package == "piq" else "float32")
    pair = pair_images(test, reference, mask=mask, dtype=precision)
    whole = pair.cropped()
    values = np.full(len(pair.test), np.nan)
    refusals = [""] * len(pair.test)
    usable = pair.usable.tolist()
    colours = 3 if package == "pyiqa" or metric in COLOUR else 1
    for index in range(len(values)):
        if not usable[index]:
            continue
        images = (
            _prepared(stack[index], scale, colours) for stack in (whole.test, whole.reference)
        )
        try:
            values[index] = _call(package, metric, *images)
        except (ValueError, AssertionError, RuntimeError, IndexError) as error:
            refusals[index] = f"{package} refuses it: {error or type(error).__name__}"
    return pair, values, refusals


def _prepared(image: Any, scale: float, colours: int) -> Tensor:
    import torch

    tensor: Tensor = torch.as_tensor(image)
    return (tensor * scale).clamp(0, 1).expand(1, colours, -1, -1).contiguous()


def _call(package: str, metric: str, test: Tensor, reference: Tensor) -> float:
    import torch

    function = _function(package, metric, str(test.device), test.dtype)
    with torch.no_grad(), _quiet():
        return float(function(test, reference))


@lru_cache(maxsize=8)
def _function(package: str, metric: str, device: str, dtype: Any) -> Callable[..., Any]:
    """Make a metric once per device and precision."""
    with _quiet():
        return _piq(metric) if package == "piq" else _pyiqa(metric, device, dtype)


def _piq(metric: str) -> Callable[..., Any]:
    import piq

    if metric not in NETWORKS:
        options = {"data_range": 1.0, **GREY_OPTIONS.get(metric, {})}
        return partial(getattr(piq, metric), **options)
    kind = NETWORKS[metric]
    with without_network("piq", metric, f'python -c "import piq; piq.{kind}()"'):
        network: Callable[..., Any] = getattr(piq, kind)()
    return network


def _pyiqa(metric: str, device: str, dtype: Any) -> Callable[..., Any]:
    import pyiqa
    import torch

    command = f"python -c \"import pyiqa; pyiqa.create_metric('{metric}')\""
    with without_network("pyiqa", metric, command):
        network: Any = pyiqa.create_metric(metric, device=torch.device(device))
    made: Callable[..., Any] = network.to(dtype)
    return made


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the packages' notices out of the harness' own output."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
