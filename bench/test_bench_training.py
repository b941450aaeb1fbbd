"""Does data loading limit training? Share of the wall time in which the network waits for a batch."""

import numpy as np
import pytest

from msibench.image import as_stack
from msibench.training.augmentation import IonImageLook
from msibench.training.config import TrainingConfig
from msibench.training.degradation import degrade_by
from msibench.training.loop import train
from msibench.training.networks import around
from msibench.training.patches import Patches
from msibench_swinir.training import network_for_training


@pytest.fixture
def patches():
    rng = np.random.default_rng(0)
    sections = [as_stack(rng.random((2, 260, 390))) for _ in range(4)]
    return Patches(
        sections,
        factor=4,
        patch=24,
        batch=8,
        margin=2,
        augment=IonImageLook(),
        degrade=degrade_by({"area-x4@1": 0.8, "bicubic-x4@1": 0.2}, factor=4),
    )


def test_bench_drawing_a_batch(benchmark, patches):
    numbers = iter(range(10_000))
    benchmark.pedantic(lambda: patches.batch(next(numbers)), rounds=20, warmup_rounds=2)


@pytest.mark.parametrize(
    ("size", "config"),
    [
        ("tiny", {"embed_dim": 32, "depths": [4, 4], "num_heads": [4, 4]}),
        ("light", {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4}),
    ],
)
def test_bench_share_of_a_step_spent_waiting_for_data(benchmark, patches, size, config):
    network = around(network_for_training(config, factor=4, weights=None), factor=4)
    steps = 6
    result = benchmark.pedantic(
        lambda: train(network, patches, TrainingConfig(iterations=steps)), rounds=1
    )
    benchmark.extra_info["size"] = size
    benchmark.extra_info["waited_share"] = round(result.waited, 5)
    benchmark.extra_info["network_share"] = round(1 - result.waited, 5)
