"""What each metric takes of memory and time on one large ion image, as a table.

    python bench/measure_metric_memory.py --side 4000

Each metric runs in a process of its own, on a pair of float32 images; the figure is how far the process's
peak rises above what it held before the call. Networks have random weights where theirs are not here.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    """Measure all, or one where ``--one`` names it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--only", default="")
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.side)))
        return
    from msibench.metrics.specs import builtin_metrics

    print(f"{options.side} x {options.side}, one pair\n\n| metric | MiB | bytes a pixel | CPU s |")
    print("|---|---|---|---|", flush=True)
    for spec in builtin_metrics():
        if options.only in spec.name:
            print(row(spec.name, options), flush=True)


def row(name: str, options: argparse.Namespace) -> str:
    """Return one line, from a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--side", str(options.side)]
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=options.timeout
        )
    except subprocess.TimeoutExpired:
        return f"| {name} | – | – | over {options.timeout:.0f} on the wall |"
    except subprocess.CalledProcessError as error:
        return f"| {name} | – | – | {error.stderr.strip().splitlines()[-1][:80]} |"
    mib, seconds = json.loads(done.stdout.splitlines()[-1])
    return f"| {name} | {mib:.0f} | {mib * 2**20 / options.side**2:.0f} | {seconds:.1f} |"


def measure(name: str, side: int) -> tuple[float, float]:
    """Return MiB above the inputs and processor seconds of one metric."""
    from random_weights import give_random_features

    from msibench.metrics.specs import builtin_metrics
    from msibench.plugin_manager import resolve_target

    give_random_features()
    spec = next(spec for spec in builtin_metrics() if spec.name == name)
    function = resolve_target(spec.target)
    small, large = inputs(48), inputs(side)
    call(spec, function, small)  # imports and tables
    before = peak()
    start = time.process_time()
    call(spec, function, large)
    return peak() - before, time.process_time() - start


def peak() -> float:
    """Return the process's largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def inputs(side: int) -> Any:
    """Return one evaluation: noisy structures as truth, a blurred one as prediction."""
    from msibench.contracts.metric import Evaluation
    from msibench.degradation import protocol
    from msibench.image import GuideImage, MSImage

    rng = np.random.default_rng(0)
    coarse = rng.random((1, side // 8, side // 8), dtype=np.float32)
    truth = coarse.repeat(8, 1).repeat(8, 2)
    truth += rng.random(truth.shape, dtype=np.float32) / 4
    truth /= np.float32(1.25)
    prediction = (truth + np.roll(truth, 1, 2)) / np.float32(2)
    low = truth.reshape(1, side // 4, 4, side // 4, 4).mean((2, 4))
    shape = truth.shape[1:]
    return Evaluation(
        prediction=prediction,
        truth=MSImage(truth, np.array([500.0]), pixel_size_um=10.0, mask=np.ones(shape, bool)),
        low=MSImage(low, np.array([500.0])),
        factor=4,
        degrade=protocol("area-x4@1").degrade,
        split=protocol("area-x4@1").split,
        guide=GuideImage(np.broadcast_to(truth, (3, *shape)).copy()),
        counts_per_unit=np.array([1000.0]),
        uncharted=truth[0],
    )


def call(spec: Any, function: Any, evaluation: Any) -> None:
    """Compute one metric as the scorer does."""
    if spec.kind == "contextual":
        if spec.name in ("spectral_angle", "colocalisation"):  # they need two ion images
            evaluation = doubled(evaluation)
        function(evaluation, **spec.params)
    else:
        function(
            evaluation.prediction, evaluation.truth.values, data_range=1.0, mask=None, **spec.params
        )


def doubled(evaluation: Any) -> Any:
    """Return the section with its ion image twice."""
    twice = {
        name: replace(image, values=image.values.repeat(2, 0), mz=np.array([500.0, 600.0]))
        for name, image in (("truth", evaluation.truth), ("low", evaluation.low))
    }
    return replace(evaluation, prediction=evaluation.prediction.repeat(2, 0), **twice)


if __name__ == "__main__":
    main()
