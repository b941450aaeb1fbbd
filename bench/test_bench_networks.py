"""Networks of the single-image methods, each beside its peer in the same run.

Goals: MambaIR's scan at least 4x faster than the reference scan at SR size (1440 x 16, 4096 steps) and
2x at light size (288 x 10), with at most a quarter of its peak memory; SwinIR-light and RRDB over 16 ion
images at least 1.2x the images a second of one-by-one calls of the official module. On a GPU:
SwinIR-light 64 -> 256 at least 500 images a second, MambaIR-light 150.

    pytest bench/test_bench_networks.py --benchmark-only -s
"""

import json
import subprocess
import sys
import time
import warnings
from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from msibench.training.tile_plan import InputNeeds, TileOptions  # noqa: E402
from msibench.training.tiles import upscale_ions  # noqa: E402

IONS = 16
SCANS = {"light": (288, 10, 4096), "sr": (1440, 16, 4096)}
"""Channels of the four directions together, states, steps (64 x 64 pixels)."""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scan_inputs(channels, state, length):
    g = torch.Generator().manual_seed(0)
    dim = channels // 4
    u = torch.randn(length, 1, 4, dim, generator=g)
    delta = torch.nn.functional.softplus(torch.randn(length, 1, 4, dim, generator=g) - 3)
    a = -torch.arange(1.0, state + 1)[None, :, None].expand(4, -1, dim).contiguous()
    b = torch.randn(length, 1, 4, state, generator=g)
    c = torch.randn(length, 1, 4, state, generator=g)
    return u, delta, a, b, c, torch.ones(4, dim)


def reference_inputs(u, delta, a, b, c, d):
    """The same numbers in the reference's layout: ``(batch, channel, length)``."""
    length, batch, groups, dim = u.shape
    return (
        u.permute(1, 2, 3, 0).reshape(batch, -1, length),
        delta.permute(1, 2, 3, 0).reshape(batch, -1, length),
        a.transpose(1, 2).reshape(groups * dim, -1),
        b.permute(1, 2, 3, 0),
        c.permute(1, 2, 3, 0),
        d.reshape(-1),
    )


def reference_scan(u, delta, a, b, c, d):
    """What the pure-PyTorch reference of Mamba does: all coefficients first, then step by step."""
    batch, channels, length = u.shape
    b = b.repeat_interleave(channels // b.shape[1], dim=1)
    c = c.repeat_interleave(channels // c.shape[1], dim=1)
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, a))
    drive = torch.einsum("bdl,bdnl,bdl->bdln", delta, b, u)
    h, out = u.new_zeros(batch, channels, a.shape[1]), []
    for step in range(length):
        h = decay[:, :, step] * h + drive[:, :, step]
        out.append(torch.einsum("bdn,bdn->bd", h, c[..., step]))
    return torch.stack(out, dim=2) + u * d[:, None]


def seconds(function, *arguments, rounds=1):
    """Shortest of several processor times: other work on the machine only ever adds to it."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def peak_mb(which, size):
    """Return how far one scan raises a fresh process's resident memory above its inputs, in MB."""
    script = f"""
import json, pathlib, re, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {str(__file__).rpartition("/")[0]!r})
import test_bench_networks as bench
from msibench_mambair.scan import selective_scan
status = lambda name: int(re.search(name + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
inputs = bench.scan_inputs(*bench.SCANS[{size!r}])
small = bench.scan_inputs(8, 4, 16)
with torch.inference_mode():
    if {which!r} == "ours":
        selective_scan(*small); before = status("VmRSS"); selective_scan(*inputs)
    else:
        inputs = bench.reference_inputs(*inputs); bench.reference_scan(*bench.reference_inputs(*small))
        before = status("VmRSS"); bench.reference_scan(*inputs)
print(json.dumps((status("VmHWM") - before) / 1024))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("size", SCANS)
def test_scan(benchmark, size):
    from msibench_mambair.scan import selective_scan

    inputs = scan_inputs(*SCANS[size])
    theirs = reference_inputs(*inputs)
    with torch.inference_mode():
        expected = reference_scan(*theirs)
        got = benchmark.pedantic(selective_scan, inputs, rounds=3, warmup_rounds=1)
        ratio = seconds(reference_scan, *theirs) / seconds(selective_scan, *inputs, rounds=5)
    shown = got.permute(1, 2, 3, 0).reshape(expected.shape)
    memory = {which: peak_mb(which, size) for which in ("ours", "reference")}
    benchmark.extra_info.update(
        speed_up=ratio,
        peak_mb=memory,
        difference=((shown - expected).abs().max() / expected.abs().max()).item(),
    )
    print(f"\nscan {size}: {benchmark.extra_info}")


def swinir_light():
    from spandrel.architectures.SwinIR import SwinIR

    from msibench_swinir.network import SwinIRConfig, build_network

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        official = SwinIR(**asdict(SwinIRConfig())).eval()
    facts = InputNeeds(factor=4, multiple_of=8, minimum=8)
    return official, build_network(official.state_dict()), facts


def rrdb():
    from spandrel.architectures.ESRGAN import ESRGANArch

    from msibench_mosr.network import RRDBConfig, RRDBNet

    ours = RRDBNet(RRDBConfig()).eval()
    official = ESRGANArch().load(dict(ours.state_dict())).model.eval()
    return official, ours.to(memory_format=torch.channels_last), InputNeeds(factor=4)


@pytest.mark.parametrize("make", [swinir_light, rrdb])
def test_sixteen_ion_images(benchmark, make):
    torch.manual_seed(0)
    official, ours, facts = make()
    low = np.random.default_rng(0).random((IONS, 64, 64), dtype=np.float32)
    options = TileOptions()

    def one_by_one():
        with torch.inference_mode():
            for ion in low:
                official(torch.from_numpy(ion).expand(1, 3, -1, -1)).mean(1).numpy()

    def batched():
        upscale_ions(ours, low, facts, options)

    benchmark.pedantic(batched, rounds=1, warmup_rounds=0)
    peer, mine = [], []
    for _ in range(2):  # taking turns, so that a busy machine is busy for both
        peer.append(seconds(one_by_one))
        mine.append(seconds(batched))
    benchmark.extra_info.update(
        images_per_cpu_second=IONS / min(mine),
        official_images_per_cpu_second=IONS / min(peer),
        speed_up=min(peer) / min(mine),
    )
    print(f"\n{make.__name__}: {benchmark.extra_info}")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [16, 64])
@pytest.mark.parametrize("name", ["swinir-light", "mambair-light", "mosr"])
def test_images_a_second_on_a_gpu(benchmark, name, batch, precision):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if name == "swinir-light":
        _, network, facts = swinir_light()
    elif name == "mosr":
        _, network, facts = rrdb()
    else:
        from msibench_mambair.network import MambaIR, MambaIRConfig

        config = MambaIRConfig(
            embed_dim=60,
            depths=(6,) * 4,
            d_state=10,
            d_inner=72,
            dt_rank=4,
            mixer="dilated",
            mixer_dim=30,
            squeeze_dim=2,
            upsampler="pixelshuffledirect",
        )
        network, facts = MambaIR(config).eval(), InputNeeds(factor=4, local=False)
    network = network.cuda()
    low = np.random.default_rng(0).random((4 * batch, 64, 64), dtype=np.float32)
    options = TileOptions(batch=batch)

    def run():
        upscale_ions(network, low, facts, options, device="cuda", precision=precision)
        torch.cuda.synchronize()

    torch.cuda.reset_peak_memory_stats()
    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(
        images_per_second=len(low) / benchmark.stats.stats.min,
        peak_mb=torch.cuda.max_memory_allocated() / 2**20,
    )
    print(f"\n{name} {batch} {precision}: {benchmark.extra_info}")
