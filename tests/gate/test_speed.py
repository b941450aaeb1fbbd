import importlib
import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError
from msibench.gate import compare, load_margins
from msibench.gate.interleave import _peak_of, _split, interleaved, run_once
from msibench.gate.report import compare_sessions
from msibench.gate.samples import Timing, Timings, read_pytest_benchmark
from msibench.gate.sources import Side
from msibench.gate.speed import compare_peaks, compare_times, on_shared_runner

MARGINS = load_margins()


def rounds(median, count=12, spread=0.01, seed=0):
    return Timing(seconds=tuple(median * np.random.default_rng(seed).normal(1, spread, count)))


@pytest.mark.parametrize(
    ("base", "new", "outcome"),
    [(1.0, 1.2, "slower"), (1.2, 1.0, "faster"), (1.0, 1.05, "same"), (1.0, 1.0, "same")],
)
def test_slower_needs_both_the_factor_and_the_test(base, new, outcome):
    assert compare_times("a", rounds(base), rounds(new, seed=1), MARGINS).outcome == outcome


def test_a_large_factor_that_noise_explains_is_no_regression():
    verdict = compare_times("a", rounds(1, 8, 0.8, 3), rounds(1.3, 8, 0.8, 4), MARGINS)
    assert verdict.factor > 1.1
    assert verdict.outcome == "same"


@pytest.mark.parametrize(("count", "decided"), [(6, False), (7, True)])
def test_so_few_rounds_that_p_cannot_be_small_are_undecided(count, decided):
    """2 / C(12, 6) = 0.00216 and 2 / C(14, 7) = 0.00058; the threshold is 0.002."""
    verdict = compare_times("a", rounds(1, count), rounds(2, count), MARGINS)
    assert verdict.outcome == ("slower" if decided else "undecided")


def test_times_that_are_all_one_value_are_the_same():
    flat = Timing(seconds=(0.5,) * 9)
    verdict = compare_times("a", flat, flat, MARGINS)
    assert (verdict.outcome, verdict.p, verdict.rule) == ("same", 1.0, "Mann-Whitney")


def test_p_is_that_of_the_exact_test():
    base, new = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), (8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0)
    verdict = compare_times("a", Timing(seconds=base), Timing(seconds=new), MARGINS)
    assert verdict.p == pytest.approx(2 / math.comb(14, 7))


def benchmark_file(path, medians, *, data=True, brand="cpu"):
    stats = {}
    for name, value in medians.items():
        seconds = [value * (1 + 0.001 * number) for number in range(9)]
        stats[name] = {"median": value, "q1": value * 0.99, "q3": value * 1.01}
        if data:
            stats[name]["data"] = seconds
    found = {
        "machine_info": {"cpu": {"brand_raw": brand, "count": 2}},
        "benchmarks": [{"fullname": name, "stats": part} for name, part in stats.items()],
    }
    path.write_text(json.dumps(found))
    return path


def session(base, new):
    return compare_sessions("base", "new", *map(read_pytest_benchmark, (base, new)), MARGINS)


@pytest.mark.parametrize("data", [True, False])
def test_results_of_pytest_benchmark_are_compared(tmp_path, data):
    base = benchmark_file(tmp_path / "a.json", {"x": 1.0, "y": 1.0}, data=data)
    new = benchmark_file(tmp_path / "b.json", {"x": 1.0, "y": 1.5}, data=data)
    report = session(base, new)
    assert report.exit_code == 5
    assert {v.name: v.outcome for v in report.speed} == {"x": "same", "y": "slower"}
    assert session(base, base).exit_code == 0


def test_a_benchmark_that_is_gone_or_another_machine_is_never_green(tmp_path):
    base = benchmark_file(tmp_path / "a.json", {"x": 1.0, "y": 1.0})
    assert session(base, benchmark_file(tmp_path / "b.json", {"x": 1.0})).exit_code == 6
    assert session(base, benchmark_file(tmp_path / "c.json", {"z": 1.0})).exit_code == 6
    other = benchmark_file(tmp_path / "d.json", {"x": 1.0, "y": 1.0}, brand="another")
    assert session(base, other).exit_code == 6


def test_what_pytest_benchmark_really_writes_is_read(tmp_path):
    import subprocess

    (tmp_path / "test_one.py").write_text("def test_one(benchmark):\n    benchmark(sum, [1, 2])\n")
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_benchmark.plugin", "test_one.py"]
    command += ["--benchmark-json", str(out), "--benchmark-max-time=0.05"]
    # a worker of pytest-xdist would pass on that benchmarks are off
    plain = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    plain["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=plain)
    found = read_pytest_benchmark(out)
    assert list(found.timings) == ["test_one.py::test_one"]
    assert len(found.timings["test_one.py::test_one"].seconds) >= 5
    assert found.machine


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmarks": [1]}', '{"benchmarks": [{}]}'])
def test_another_json_is_refused(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DataError, match="pytest-benchmark"):
        read_pytest_benchmark(file)


def test_memory_needs_the_factor_and_the_least_difference():
    base = {"a": 100.0, "b": 1000.0, "c": 1000.0, "gone": 1.0, "nan": math.nan}
    new = {"a": 130.0, "b": 1050.0, "c": 1200.0, "new": 1.0, "nan": 1.0}
    outcomes = {v.name: v.outcome for v in compare_peaks(base, new, MARGINS)}
    assert outcomes == {"a": "same", "b": "same", "c": "more"}


@pytest.mark.parametrize(
    ("environment", "shared"),
    [
        ({}, False),
        ({"CI": "true"}, True),
        ({"CI": "false"}, False),
        ({"CI": "true", "RUNNER_ENVIRONMENT": "self-hosted"}, False),
        ({"CI": "true", "RUNNER_ENVIRONMENT": "github-hosted"}, True),
    ],
)
def test_a_hosted_runner_is_a_shared_one(environment, shared):
    assert on_shared_runner(environment) is shared


def test_two_commands_are_run_in_turn(tmp_path):
    log = tmp_path / "log"
    script = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    commands = [[sys.executable, "-c", script, str(log), name] for name in "ab"]
    base, new = interleaved(*commands, rounds=3, warm_up=1)
    order = log.read_text()
    assert len(order) == 8
    assert all(set(order[start : start + 2]) == {"a", "b"} for start in range(0, 8, 2))
    assert [len(side.timings["command"].seconds) for side in (base, new)] == [3, 3]
    assert base.machine == new.machine


def test_memory_of_a_command_is_measured():
    hungry = "import time; x = b'1' * (150 << 20); time.sleep(0.5)"
    base, new = interleaved(
        [sys.executable, "-c", "pass"], [sys.executable, "-c", hungry], rounds=1, warm_up=0
    )
    assert new.peaks_mib["command"] - base.peaks_mib["command"] > 100


def test_a_command_is_text_as_a_shell_reads_it_or_a_list():
    assert _split("python -c 'import os'") == ["python", "-c", "import os"]
    assert _split(("python", "two words")) == ["python", "two words"]


def test_where_the_system_tells_no_peak_the_memory_of_now_counts():
    class Process:
        pid = -1  # of which there is no /proc

        def memory_info(self):
            return SimpleNamespace(rss=3 << 20)

    assert _peak_of(Process()) == 3.0


def test_a_command_that_fails_or_hangs_measures_nothing():
    good = [sys.executable, "-c", "pass"]
    with pytest.raises(DataError, match="ended with 3"):
        interleaved(good, [sys.executable, "-c", "raise SystemExit(3)"], rounds=1)
    with pytest.raises(DataError, match="longer than"):
        interleaved(
            [sys.executable, "-c", "import time; time.sleep(60)"], good, rounds=1, timeout_s=0.5
        )
    for wrong in ("", "no-such-program-here", "'unclosed"):
        with pytest.raises(ConfigurationError):
            interleaved(good, wrong, rounds=1)


def test_a_session_without_any_time_is_never_green():
    nothing = Timings(timings={})
    assert compare_sessions("a", "b", nothing, nothing, MARGINS).exit_code == 6


def test_two_sessions_are_compared_like_two_tables_and_say_why_nothing_could_be():
    slow, fast = (Timings(timings={"a": rounds(median)}) for median in (2.0, 1.0))
    sides = [Side(name=name, benchmarks=one) for name, one in (("x", fast), ("y", slow))]
    report = compare(*sides, MARGINS)
    assert (report.exit_code, report.base, report.new) == (5, "x", "y")
    assert "a takes 2.00 times as long" in report.findings[0].text
    assert compare(*sides, MARGINS, warn_speed=True).exit_code == 0
    few = Timings(timings={"a": rounds(1.0, 3), "b": rounds(1.0, 3)})
    (finding,) = compare_sessions("x", "y", few, few, MARGINS).findings
    assert finding.text == "nothing could be compared: 3 and 3 rounds cannot give p < 0.002"
    (finding,) = compare_sessions("x", "y", Timings(timings={}), few, MARGINS).findings
    assert finding.text == "nothing could be compared: no name in common"


def test_rounds_warm_up_and_order_are_those_asked_for(monkeypatch):
    module = importlib.import_module("msibench.gate.interleave")
    ran = []

    def run_once(command, *, timeout_s, folder):
        ran.append((command[0], timeout_s, folder))
        return module.Once(seconds=float(len(ran)), peak_mib=100.0 - len(ran))

    monkeypatch.setattr(module, "run_once", run_once)
    base, new = interleaved("a", "b")
    assert len(ran) == 2 * (10 + 1)
    assert {words[1:] for words in ran} == {(600.0, None)}
    order = np.random.default_rng(0)  # of the documented seed
    wanted = ["ab"[which] for _ in range(11) for which in order.permutation(2)]
    assert [name for name, *_ in ran] == wanted
    for name, side in (("a", base), ("b", new)):
        measured = [place for place, one in enumerate(wanted, start=1) if one == name][1:]
        assert side.timings["command"].seconds == tuple(map(float, measured))
        assert side.peaks_mib == {"command": 100.0 - measured[0]}
    ran.clear()
    interleaved("a", "b", rounds=1, warm_up=0, seed=3, timeout_s=2.5, folder="there")
    assert {words[1:] for words in ran} == {(2.5, "there")}
    assert len(ran) == 2
    with pytest.raises(ConfigurationError, match="rounds must be at least 1, got 0"):
        interleaved("a", "b", rounds=0)


def stats_file(path, **document):
    path.write_text(json.dumps(document))
    return path


def test_what_a_file_says_of_its_machine_is_read_in_turn(tmp_path):
    for machine, wanted in (
        ({"cpu": {"brand_raw": "A", "brand": "B", "count": 8}, "processor": "C"}, "A, 8 cores"),
        ({"cpu": {"brand": "B", "count": 8}, "processor": "C"}, "B, 8 cores"),
        ({"cpu": {}, "processor": "C"}, "C, ? cores"),
        ({"cpu": {"count": 8}}, ""),
        ({}, ""),
    ):
        file = stats_file(tmp_path / "x.json", machine_info=machine, benchmarks=[])
        assert read_pytest_benchmark(file).machine == wanted


def test_a_time_may_be_nothing_and_never_less(tmp_path):
    def read(**stats):
        benchmarks = [{"fullname": "a", "stats": stats}]
        file = stats_file(tmp_path / "x.json", benchmarks=benchmarks)
        return read_pytest_benchmark(file).timings["a"]

    assert read(data=[0.0, 1.0]) == Timing(seconds=(0.0, 1.0))
    kept = {"median": 1.0, "q1": 0.0, "q3": 2.0}
    assert read(**kept) == Timing(seconds=(1.0,), quartiles=(0.0, 2.0))
    assert read(data=[], **kept).quartiles == (0.0, 2.0)
    assert read(data=[3.0], **kept).quartiles is None
    for wrong in (
        {"data": [-1e-9]},
        {"data": [1.0, float("nan")]},
        {"data": [float("inf")]},
        {**kept, "q1": -1.0},
        {**kept, "q3": float("inf")},
        {**kept, "median": float("nan")},
        {"median": 1.0},
    ):
        with pytest.raises(DataError, match="pytest-benchmark"):
            read(**wrong)


def test_of_what_a_failed_command_says_the_last_500_bytes_are_told():
    letters = "".join(chr(ord("a") + place % 26) for place in range(600))
    for said, told in ((letters, letters[-500:]), ("short \n", "short"), ("", "")):
        script = f"import sys; sys.stderr.write({said!r}); raise SystemExit(3)"
        with pytest.raises(DataError) as raised:
            run_once([sys.executable, "-c", script], timeout_s=60.0)
        assert str(raised.value).endswith(f"ended with 3, so its time is meaningless: {told}")


def test_a_run_is_timed_where_it_is_asked_to_run(tmp_path):
    script = "import pathlib, time; pathlib.Path('here').write_text('x'); time.sleep(0.2)"
    once = run_once([sys.executable, "-c", script], timeout_s=60.0, folder=tmp_path)
    assert (tmp_path / "here").exists()
    assert 0.2 < once.seconds < 60
    assert once.peak_mib > 1


def test_the_peak_of_a_process_is_the_kernels_in_mib():
    import psutil

    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    first = _peak_of(psutil.Process())
    (mark,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    assert first <= int(mark.split()[1]) / 1024 < first + 64
