"""What a card does, as one JSON that names it: rates of networks, LCRN and metrics, or fits at published budgets.

    bench/gpu-rates.sh rates.json                   # at most 4 minutes
    bench/gpu-fits.sh fits.json                     # at most 9 minutes
    bench/gpu-rates.sh rates.json --device cpu --small    # shows that it runs: its figures mean nothing

Needs torch and this repository; no installation. The file is written anew after every line, so that
nothing measured is lost when time runs out, and what could not be measured says why. Networks have
random weights where a published file is not at hand: their time is the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import measure_costs as costs
import random_weights

DENSE_BFLOAT16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Products and sums a second that the makers state, dense, with which a share of the peak is told."""
FITTED = ("pixtransform", "cnn3", "unet", "lcrn", "smsdl-net", "deepfere")
SIX = ("psnr", "ssim", "vif", "vifp", "sd_ratio", "nqm")


@dataclass
class Line:
    """One figure."""

    name: str
    value: float | None
    unit: str
    goal: str = ""
    note: str = ""
    more: dict[str, float] = field(default_factory=dict)


Work = tuple[str, Callable[[], Line]]


def main() -> None:
    """Measure one of the two lists and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["rates", "fits"])
    parser.add_argument("json", type=Path, help="where the figures go")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--small", action="store_true", help="sizes that a processor can do")
    parser.add_argument("--seconds", type=float, default=0.0, help="for the whole list")
    parser.add_argument("--only", default="", help="parts of the names to measure, commas between")
    options = parser.parse_args()
    costs.find_plugins()
    sys.path.append(str(costs.ROOT / "datasets"))
    jobs = list((rates if options.what == "rates" else fits)(options))
    if options.only:
        jobs = [job for job in jobs if any(part in job[0] for part in options.only.split(","))]
    end = time.monotonic() + (options.seconds or (230.0 if options.what == "rates" else 520.0))
    lines: list[Line] = []
    for name, measure in jobs:
        lines.append(attempt(name, measure, end - time.monotonic()))
        print(json.dumps(asdict(lines[-1])), flush=True)
        write(options, lines)


def attempt(name: str, measure: Callable[[], Line], seconds: float) -> Line:
    """Measure one line within so many seconds; whatever goes wrong becomes its note."""
    if seconds < 1:
        return Line(name, None, "", note="not measured: the time was used up")
    try:
        with warnings.catch_warnings(), costs.time_limit(seconds):
            warnings.simplefilter("ignore")
            return measure()
    except costs.OutOfTimeError:
        return Line(name, None, "", note=f"not measured: over {seconds:.0f} s")
    except Exception as error:
        return Line(name, None, "", note=f"not measured: {type(error).__name__}: {error}"[:300])
    finally:
        costs.free_device()


def write(options: argparse.Namespace, lines: list[Line]) -> None:
    """Write what is known so far."""
    import torch

    found = {
        "what": options.what,
        "device": card(options.device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "small": options.small,
        "lines": [asdict(line) for line in lines],
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def card(device: str) -> str:
    """Return the name of the card, or of the processor."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{platform.machine()} processor"


# -- rates -----------------------------------------------------------------------------------------


def rates(options: argparse.Namespace) -> Iterator[Work]:
    """Yield networks, the fit of LCRN and the metrics, what is quick first."""
    yield "six metrics", partial(six_metrics, options)
    yield "detail_gain", partial(detail, "detail_gain", 20_000, options)
    yield "split of the error", partial(detail, "split_error", 20_000, options)
    for name, file, goal in (
        ("swinir-light", "SwinIR-S", 1_000),
        ("mambair-light", "MambaIR_light", 500),
        ("mosr", "MOSR", 1_000),
    ):
        yield name, partial(network_rate, name, file, goal, options)
    yield "lcrn", partial(lcrn_rate, options)
    if not options.small:  # a processor takes minutes
        yield "resshift-b", partial(resshift, options)


def six_metrics(options: argparse.Namespace) -> Line:
    """Return how many pairs a second all six metrics together manage."""
    import torch

    from msibench import metrics

    count, side = (2, 64) if options.small else (1024, 256)
    rng = np.random.default_rng(0)
    test, reference = (
        torch.as_tensor(rng.random((count, side, side)), device=options.device) for _ in range(2)
    )

    def six() -> None:
        for name in SIX:
            getattr(metrics, name)(test, reference)

    seconds = costs.shortest(six, options.device)
    return Line("six metrics", count / seconds, "pairs/s", ">= 5,000", f"{side} x {side}")


def detail(name: str, goal: int, options: argparse.Namespace) -> Line:
    """Return how many pairs a second a measure of detail manages; numpy's arrays, on the host."""
    import importlib

    from msibench.degradation import protocol

    measure = getattr(importlib.import_module("msibench.metrics.detail"), name)
    count, side = (2, 64) if options.small else (1024, 256)
    rng = np.random.default_rng(0)
    test, reference = (rng.random((count, side, side), dtype=np.float32) for _ in range(2))
    run = partial(measure, test, reference, protocol=protocol("area-x4@1"))
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return Line(name, count / seconds, "pairs/s", f">= {goal:,}", f"{side} x {side}, on the host")


def network_rate(name: str, file: str, goal: int, options: argparse.Namespace) -> Line:
    """Return the images a second of a network through `upscale_ions`, and its share of the peak."""
    import torch

    from msibench.training.tile_plan import InputNeeds, TileOptions
    from msibench.training.tiles import upscale_ions

    network = random_weights.random_network(file).eval().to(options.device)
    needs = {
        "swinir-light": InputNeeds(factor=4, multiple_of=8, minimum=8),
        "mambair-light": InputNeeds(factor=4, local=False),
        "mosr": InputNeeds(factor=4),
    }[name]
    if name == "mosr":
        network = network.to(memory_format=torch.channels_last)
    count, side = (1, 16) if options.small else (256, 64)
    low = np.random.default_rng(0).random((count, side, side), dtype=np.float32)
    precision = "bfloat16" if options.device.startswith("cuda") else "float32"
    run = partial(
        upscale_ions, network, low, needs, TileOptions(batch=64),
        device=options.device, precision=precision,
    )  # fmt: skip
    seconds = costs.shortest(run, options.device, rounds=1 if options.small else 3)
    each = operations(network, torch.zeros(1, 3, side, side, device=options.device))
    line = Line(name, count / seconds, "images/s", f">= {goal:,}", f"{side} -> {4 * side}")
    return with_share(line, each * count / seconds, options.device)


def operations(network: Any, example: Any) -> float:
    """Return the products and sums of one image that PyTorch counts (not those of our own kernels)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(example)
    return float(counter.get_total_flops())


def with_share(line: Line, rate: float, device: str) -> Line:
    """Add what was reached of what the maker states."""
    line.more["tera-operations/s"] = rate / 1e12
    for name, peak in DENSE_BFLOAT16.items():
        if name in card(device):
            line.more["share of the peak, %"] = 100 * rate / peak
    return line


def resshift(options: argparse.Namespace) -> Line:
    """Return the images a second of ResShift-B, four steps, with its autoencoder."""
    import importlib

    specs = importlib.import_module("msibench_resshift").msibench_methods()
    spec = next(spec for spec in specs if spec.name == "resshift-b")
    ions, size = (1, 16) if options.small else (16, 64)
    precision = "bfloat16" if options.device.startswith("cuda") else "float32"
    told = argparse.Namespace(device=options.device, ions=ions, size=size, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        notes: list[str] = []
        weights = {
            file.name: random_weights.checkpoint(file, Path(folder), notes) for file in spec.weights
        }
        run = costs.runner(spec, told, weights, spec.config)
        seconds = costs.shortest(run, options.device, rounds=1)
    return Line("resshift-b", ions / seconds, "images/s", ">= 40", f"{size} -> {4 * size}, 4 steps")


def lcrn_rate(options: argparse.Namespace) -> Line:
    """Return LCRN's iterations a second, from the difference of two fits: set-up takes no part."""
    low, factor = ((8, 6), 4) if options.small else ((135, 49), 20)
    few, many = (2, 4) if options.small else (50, 250)
    precision = "bfloat16" if options.device.startswith("cuda") else "float32"
    seconds, curves = {}, {}
    for kind, epochs in ((precision, few), (precision, many), ("float32", few)):
        costs.synchronise(options.device)
        start = time.perf_counter()
        curves[kind, epochs] = fit_lcrn(low, factor, epochs, kind, options.device)
        costs.synchronise(options.device)
        seconds[kind, epochs] = time.perf_counter() - start
    spent = max(seconds[precision, many] - seconds[precision, few], 1e-9)
    grid = f"{low[0] * factor} x {low[1] * factor}, {precision}"
    line = Line("lcrn", (many - few) / spent, "iterations/s", ">= 100", grid)
    half, single = curves[precision, few], curves["float32", few]
    line.more["curve off float32, %"] = float(100 * np.abs(half / single - 1).max())
    line.more["set-up, s"] = seconds[precision, few] - few * spent / (many - few)
    return line


def fit_lcrn(
    low: tuple[int, int], factor: int, epochs: int, precision: str, device: str
) -> np.ndarray:
    """Fit LCRN at its published size to one made-up ion; return its loss curve."""
    import torch

    from msibench.image import MSImage
    from msibench.training.fitting import FitSettings, fit_ions
    from msibench.training.ions import scale_ions
    from msibench_lcrn.config import LcrnConfig
    from msibench_lcrn.network import LcrnNetwork
    from msibench_lcrn.objective import LcrnObjective

    rng = np.random.default_rng(0)
    guide = rng.random((3, low[0] * factor, low[1] * factor), np.float32)
    ion = MSImage(rng.random((1, *low), np.float32), np.array([500.0]))
    objective = LcrnObjective(scale_ions(ion), guide, factor, LcrnConfig(), 5, torch.device(device))
    settings = FitSettings(
        epochs=epochs,
        watch="edge",
        precision=precision,
        device=device,  # type: ignore[arg-type]
    )
    done = fit_ions(LcrnNetwork, objective, [0], settings, seed=0, example=objective.example)
    return np.asarray(done.curves[0, :, 0])


# -- fits ------------------------------------------------------------------------------------------


def fits(options: argparse.Namespace) -> Iterator[Work]:
    """Yield the methods that fit themselves, each at its published budget, eight ions of one section."""
    problem, truth, name = section(options)
    for method in FITTED:
        yield method, partial(one_fit, method, problem, truth, name, options)


def section(options: argparse.Namespace) -> tuple[Any, np.ndarray, str]:
    """Return a problem with eight ions and a guide, and its truth: a phantom as large as the bladder."""
    from msibench.degradation import protocol
    from msibench.image import GuideImage, MSImage, Problem
    from msibench_datasets.phantom.generator import make_phantom

    shape, ions = ((64, 64), 1) if options.small else ((132, 260), 8)
    made = make_phantom(seed=1, shape=shape)
    truth = made.counts[1 : 1 + ions]
    truth = (truth / truth.max((1, 2), keepdims=True)).astype(np.float32)
    coarse = np.asarray(protocol("area-x4@1").degrade(truth), np.float32)
    low = MSImage(coarse, made.mz[1 : 1 + ions], pixel_size_um=40.0)
    guide = GuideImage(made.guide, pixel_size_um=10.0)
    problem = Problem(low=low, factor=4, guide=guide, device=options.device)
    return problem, truth, f"phantom, {ions} ions of {shape[0]} x {shape[1]}"


def one_fit(
    method: str, problem: Any, truth: np.ndarray, name: str, options: argparse.Namespace
) -> Line:
    """Return the seconds of one method's fits, with what became of them."""
    import importlib

    import torch

    from msibench.plugin_manager import resolve_target

    folders = ("msibench_baselines", "msibench_lcrn", "msibench_smsdl_net", "msibench_deepfere")
    offered = [s for folder in folders for s in importlib.import_module(folder).msibench_methods()]
    spec = next(spec for spec in offered if spec.name == method)
    config = dict(spec.config)
    if options.small:
        config |= {key: min(config[key], 2) for key in costs.BUDGET_KEYS if config.get(key)}
    costs.synchronise(options.device)
    start = time.perf_counter()
    fine = resolve_target(spec.target)(**config).upscale(replace(problem))
    costs.synchronise(options.device)
    line = Line(method, time.perf_counter() - start, "s", "all six in <= 480 s", name)
    error = np.sqrt(((fine - truth) ** 2).mean((1, 2)))
    line.more["PSNR, dB"] = float(np.mean(-20 * np.log10(np.maximum(error, 1e-12))))
    if torch.cuda.is_available():
        line.more["VRAM, MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return line


if __name__ == "__main__":
    main()
