"""What one ion image costs: every method and every metric on one device, as one table.

    python bench/measure_costs.py --device cpu --seconds-budget 900
    python bench/measure_costs.py --device cuda --ions 16 --json costs.json

Needs torch and this repository; no installation. Plugins are read from their folders, and one that
cannot be imported (a missing package) costs its own lines, which say why. Time does not depend on the
values of weights: where a published file is not at hand, a network of its architecture with random
weights is timed, and the line says so. Methods that fit themselves to a section for hours are timed
with two small budgets; the rest follows from the slope, and the line says so too.

All images: a coarse ion image of ``--size`` squared becomes one four times as fine. A section's cost
divided by its ions is the cost of an image, so ``--ions`` matters for methods that share work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from random_weights import checkpoint, give_random_features

ROOT = Path(__file__).resolve().parent.parent
FACTOR = 4
BUDGET_KEYS = (
    "epochs",
    "iterations",
    "ion_iterations",
    "ion_warm_up",
    "embedding_iterations",
    "embedding_warm_up",
    "features_steps",
    "regression_steps",
)
"""Options that a method's time is proportional to, once its fixed cost is taken off."""


@dataclass
class Cost:
    """One line of the table."""

    kind: str
    name: str
    seconds_per_image: float | None
    note: str = ""
    vram_mib: float | None = None
    parts: int = 1
    """Ion images in the section that was timed."""


class OutOfTimeError(Exception):
    """The share of the budget is used up."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTimeError` in the block after so many seconds of wall time."""

    def give_up(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seconds-budget", type=float, default=540.0, help="for the whole table")
    parser.add_argument("--each", type=float, default=0.0, help="seconds at most for one line")
    parser.add_argument("--size", type=int, default=64, help="side of the coarse image")
    parser.add_argument("--ions", type=int, default=0, help="per section; 0: 2 on cpu, 16 on cuda")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--only", default="", help="parts of the names to measure, commas between")
    parser.add_argument("--json", type=Path, help="write the table here as well")
    options = parser.parse_args()
    options.ions = options.ions or (2 if options.device == "cpu" else 16)
    find_plugins()
    work = [*metric_jobs(options), *method_jobs(options)]
    if options.only:
        wanted = options.only.split(",")
        work = [job for job in work if any(part in job[1] for part in wanted)]
    costs, end = [], time.monotonic() + options.seconds_budget
    print(about_machine(options), flush=True)
    for number, (kind, name, measure) in enumerate(work):
        left = end - time.monotonic()
        # What one line leaves over, the ones after it share.
        share = options.each or max(10.0, 4 * left / max(1, len(work) - number))
        if left < 1:
            cost = Cost(kind, name, None, "not measured: the time was used up")
        else:
            cost = attempt(kind, name, measure, min(share, left))
        costs.append(cost)
        print(line(cost), flush=True)
    if options.json:
        facts = {"machine": about_machine(options), "costs": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(facts, indent=1), encoding="utf-8")


def attempt(kind: str, name: str, measure: Callable[[], Cost], seconds: float) -> Cost:
    """Measure one line; whatever goes wrong becomes its note."""
    try:
        with warnings.catch_warnings(), time_limit(seconds):
            warnings.simplefilter("ignore")
            return measure()
    except OutOfTimeError:
        return Cost(kind, name, None, f"not measured: over {seconds:.0f} s")
    except Exception as error:
        text = str(error).strip().splitlines()
        return Cost(kind, name, None, f"not measured: {type(error).__name__}: {text[:1]}"[:160])
    finally:
        free_device()


def line(cost: Cost) -> str:
    """Return one row of a Markdown table."""
    value = "–" if cost.seconds_per_image is None else f"{cost.seconds_per_image * 1e3:.4g}"
    vram = "" if cost.vram_mib is None else f"{cost.vram_mib:.0f}"
    return f"| {cost.kind} | {cost.name} | {value} | {vram} | {cost.note} |"


def about_machine(options: argparse.Namespace) -> str:
    """Return the heading: what was measured on what."""
    import torch

    device = options.device
    if device.startswith("cuda"):
        device = torch.cuda.get_device_name()
    grid = f"{options.size}² → {options.size * FACTOR}²"
    load = f"{os.getloadavg()[0]:.1f}"
    return (
        f"device {device}; torch {torch.__version__} ({torch.get_num_threads()} threads); Python "
        f"{platform.python_version()}; {options.ions} ions of {grid}, {options.precision}; load {load}"
        "\n\n| kind | name | ms an image | VRAM, MiB | note |\n|---|---|---|---|---|"
    )


def find_plugins() -> None:
    """Make this repository and the folders of its plugins importable, and find a place for caches."""
    try:
        importlib.import_module("platformdirs")
    except ModuleNotFoundError:
        os.environ.setdefault("MSIBENCH_CACHE", tempfile.gettempdir())
    for folder in (ROOT, *sorted((ROOT / "plugins").iterdir())):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.append(str(folder))


# -- timing ----------------------------------------------------------------------------------------


def free_device() -> None:
    """Give back what the last line left on the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def synchronise(device: str) -> None:
    """Wait for the device."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def shortest(
    function: Callable[[], object], device: str, *, rounds: int = 3, enough_s: float = 10.0
) -> float:
    """Return the shortest time of up to `rounds` calls after a first one.

    On a GPU the time on the wall; on a processor that of its cores together, which other work on the
    machine disturbs least. Where the first call alone takes `enough_s`, its time is the answer.
    """
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    times = []
    for _ in range(rounds + 1):
        synchronise(device)
        start = clock()
        function()
        synchronise(device)
        times.append(clock() - start)
        if sum(times) > enough_s:
            break
    return min(times[1:] or times)


# -- metrics ---------------------------------------------------------------------------------------

Job = tuple[str, str, Callable[[], Cost]]


def metric_jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Yield one job per metric; those that compare with a reference run on the device."""
    from msibench.metrics.specs import builtin_metrics

    give_random_features()
    for spec in builtin_metrics():
        measure = one_pair if spec.kind == "full-reference" else in_context
        yield "metric", spec.name, partial(measure, spec, options)


def one_pair(spec: Any, options: argparse.Namespace) -> Cost:
    """Time a full-reference metric on ion images that lie on the device."""
    import torch

    from msibench.plugin_manager import resolve_target

    prediction, truth, _ = section(options.ions, options.size)
    test, reference = (
        torch.as_tensor(images, device=options.device) for images in (prediction, truth)
    )
    function = resolve_target(spec.target)
    run = partial(function, test, reference, data_range=1.0, **spec.params)
    seconds = shortest(run, options.device)
    return Cost("metric", spec.name, seconds / options.ions, "", vram(options), options.ions)


def in_context(spec: Any, options: argparse.Namespace) -> Cost:
    """Time a measure of trust; it runs on the host whatever the device."""
    from msibench.contracts.metric import Evaluation
    from msibench.degradation import protocol
    from msibench.image import GuideImage, MSImage
    from msibench.plugin_manager import resolve_target

    ions = max(2, options.ions)
    prediction, truth, low = section(ions, options.size)
    mz = np.linspace(500.0, 900.0, ions)
    mask = truth.mean(0) > np.quantile(truth.mean(0), 0.2)
    guide = truth[:1].repeat(3, axis=0)
    evaluation = Evaluation(
        prediction=prediction,
        truth=MSImage(truth, mz, pixel_size_um=10.0, mask=mask),
        low=MSImage(low, mz, pixel_size_um=10.0 * FACTOR),
        factor=FACTOR,
        degrade=protocol("area-x4@1").degrade,
        split=protocol("area-x4@1").split,
        guide=GuideImage(guide, pixel_size_um=10.0),
        counts_per_unit=np.full(ions, 1000.0),
        noise_free=truth,
        uncharted=guide[0],
    )
    run = partial(resolve_target(spec.target), evaluation, **spec.params)
    seconds = shortest(run, "cpu")
    return Cost("metric", spec.name, seconds / ions, "on the host", None, ions)


# -- methods ---------------------------------------------------------------------------------------


def method_jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Yield one job per method that the plugins' folders offer at this factor."""
    for folder in sorted((ROOT / "plugins").glob("*/msibench_*")):
        try:
            plugin = importlib.import_module(folder.name)
            specs = list(getattr(plugin, "msibench_methods", list)())
        except Exception as error:
            failed = partial(_raise, error)
            yield "method", folder.name, failed
            continue
        for spec in specs:
            if spec.factors is None or FACTOR in spec.factors:
                yield "method", spec.name, partial(one_method, spec, options)


def _raise(error: Exception) -> Cost:
    raise error


def one_method(spec: Any, options: argparse.Namespace) -> Cost:
    """Time one section through a method, and divide by its ion images."""
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = {file.name: checkpoint(file, Path(folder), notes) for file in spec.weights}
        budget = {key: spec.config[key] for key in BUDGET_KEYS if spec.config.get(key)}
        if "ion_iterations" in budget:  # ion images are fitted one by one, embeddings not at all
            budget = {key: value for key, value in budget.items() if key.startswith("ion_")}
        if spec.budget == "paper" and budget:
            seconds = extrapolated(spec, options, weights, budget)
            notes.append(f"from two budgets of {_LESS[0]} and {_LESS[1]} steps, extrapolated")
        else:
            run = runner(spec, options, weights, spec.config)
            seconds = shortest(run, options.device)
    return Cost(
        "method", spec.name, seconds / options.ions, "; ".join(notes), vram(options), options.ions
    )


_LESS = (4, 12)
"""Steps of the two small budgets."""


def extrapolated(
    spec: Any, options: argparse.Namespace, weights: dict[str, Path], budget: Mapping[str, Any]
) -> float:
    """Return the seconds of a whole fit, from two that are cut short in proportion."""
    longest = max(budget.values())
    taken = []
    for steps in _LESS:
        config = dict(spec.config)
        config |= {key: max(1, round(value * steps / longest)) for key, value in budget.items()}
        if config.get("rises") is not None:
            config["rises"] = None  # an early stop would shorten it: this is the upper limit
        taken.append(shortest(runner(spec, options, weights, config), options.device, rounds=1))
    slope = max(0.0, taken[1] - taken[0]) / (_LESS[1] - _LESS[0])
    return taken[0] + slope * (longest - _LESS[0])


def runner(
    spec: Any, options: argparse.Namespace, weights: dict[str, Path], config: Mapping[str, Any]
) -> Callable[[], object]:
    """Return a call that brings one section onto the fine grid, as a cell's child does."""
    from msibench.image import Skip
    from msibench.plugin_manager import resolve_target

    method = resolve_target(spec.target)(**config, **({"weights": weights} if weights else {}))
    problem = problem_for(spec, options)

    def run() -> object:
        fine = method.upscale(problem)
        if isinstance(fine, Skip):
            raise TypeError(f"not applicable: {fine.reason}")
        return fine

    return run


def problem_for(spec: Any, options: argparse.Namespace) -> Any:
    """Return a section with what the method's task wants to see."""
    from msibench.contracts.method import Task
    from msibench.image import GuideImage, MSImage, Problem

    _, truth, low = section(options.ions, options.size)
    mz = np.linspace(500.0, 900.0, options.ions)
    problem = Problem(
        low=MSImage(low, mz, pixel_size_um=10.0 * FACTOR),
        factor=FACTOR,
        device=options.device,
        precision=options.precision,
    )
    if spec.task is Task.GUIDED:
        colours = np.ascontiguousarray(np.resize(truth, (3, *truth.shape[1:])))
        return replace(problem, guide=GuideImage(colours, pixel_size_um=10.0))
    if spec.task is Task.CROSS_MODALITY:
        _, finer, _ = section(max(8, options.ions), options.size, seed=1)
        axis = np.linspace(500.0, 900.0, len(finer))
        return replace(problem, second=MSImage(finer, axis, pixel_size_um=10.0))
    return problem


def section(ions: int, size: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Return prediction, truth ``(ion, row, column)`` and the coarse images of a made-up section."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    noise = rng.random((ions, size * FACTOR, size * FACTOR))
    truth = sum(gaussian_filter(noise, (0, s, s)) / s for s in (1, 2, 4, 8))
    low, high = truth.min((1, 2), keepdims=True), truth.max((1, 2), keepdims=True)
    truth = ((truth - low) / (high - low)).astype(np.float32)
    coarse = truth.reshape(ions, size, FACTOR, size, FACTOR).mean((2, 4))
    prediction = np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32)
    return prediction, truth, coarse


def vram(options: argparse.Namespace) -> float | None:
    """Return the peak of device memory since the last line, in MiB."""
    import torch

    on_device = options.device.startswith("cuda")
    return torch.cuda.max_memory_allocated() / 2**20 if on_device else None


if __name__ == "__main__":
    main()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak resident memory of this process: {peak:.0f} MiB")
