"""What it costs to calibrate intervals in a run: processor time over that of the prediction.

    python bench/measure_calibration.py [methods]

Three ions of 96 x 96 coarse pixels; the method is built already, as in a cell, and has been run once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tabulate import tabulate

import msibench as mb
from msibench.library.installed import catalogue
from msibench.library.upscaling import built
from msibench.plugin_manager import resolve_method
from msibench.runner.child.calibration import calibrated_method
from msibench_datasets.phantom.generator import make_phantom

METHODS = ("bicubic", "mosr-msi-tiny", "swinir-msi-tiny", "dctlsa-msi")
EDGE = 96


def row(name, factor):
    made = make_phantom(seed=1, shape=(EDGE, EDGE), counts=60)
    low = mb.MSImage(made.counts[:3].astype(np.float32), made.mz[:3], 40.0, mask=made.mask)
    problem = mb.Problem(low=low, factor=factor)
    spec = resolve_method(name, catalogue())
    method = built(spec, spec.config)
    method.upscale(problem)
    began = time.process_time()
    fine = np.asarray(method.upscale(problem))
    predicted = time.process_time()
    with TemporaryDirectory() as folder:
        alone = spec.each_ion_alone
        known = calibrated_method(method, problem, Path(folder), each_ion_alone=alone)
        known.interval(slice(None), fine, never_negative=spec.never_negative)
    calibrated = time.process_time()
    return {
        "method": name,
        "x": factor,
        "prediction (s)": predicted - began,
        "calibration (s)": calibrated - predicted,
        "share": f"{(calibrated - predicted) / (predicted - began):.0%}",
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for name in sys.argv[1:] or METHODS:
        spec = resolve_method(name, catalogue())
        rows += [
            row(name, factor) for factor in (2, 4) if spec.factors is None or factor in spec.factors
        ]
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f"))
