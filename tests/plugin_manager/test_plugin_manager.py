import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from msibench import MethodSpec, Task, hookimpl
from msibench.errors import DuplicateNameError, PluginError, UnknownNameError
from msibench.plugin_manager import method_from_file, method_from_plugin, resolve_method
from msibench.plugin_manager.discovery import discover


def offer(monkeypatch, module_name, *names, **attributes):
    """Install a module that offers methods of these names, and return its entry point."""
    module = ModuleType(module_name)

    @hookimpl
    def msibench_methods():
        for name in names:
            yield MethodSpec(
                name=name, target="x:Y", task=Task.SINGLE_IMAGE, citation="none", licence="none"
            )

    module.msibench_methods = msibench_methods
    for name, value in attributes.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, module_name, module)
    return EntryPoint(module_name, module_name, "msibench")


def test_a_broken_plugin_leaves_the_others_working(monkeypatch):
    good = offer(monkeypatch, "good", "good-method")
    bad = EntryPoint("mambair", "no_such_module", "msibench")

    catalogue = discover([bad, good])

    assert set(catalogue.methods) == {"good-method"}
    assert "No module named 'no_such_module'" in catalogue.broken["mambair"]
    with pytest.raises(UnknownNameError, match="installed but cannot be used"):
        catalogue.method("mambair")


def test_a_plugin_that_fails_in_its_hook_is_broken_too(monkeypatch):
    @hookimpl
    def msibench_methods():
        raise RuntimeError("no card reader")
        yield

    bad = offer(monkeypatch, "bad", msibench_methods=msibench_methods)
    assert "no card reader" in discover([bad]).broken["bad"]


ENDINGS = {
    "exits": "import sys; sys.exit('needs torch 1.x')",
    "interrupts": "raise GeneratorExit('no more')",
    "raises_its_own": "class Stop(BaseException): pass\nraise Stop('not today')",
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_plugin_that_ends_python_is_broken_and_the_others_work(name, tmp_path, monkeypatch):
    (tmp_path / f"plugin_{name}.py").write_text(ENDINGS[name], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    bad = EntryPoint("bad", f"plugin_{name}", "msibench")

    catalogue = discover([bad, offer(monkeypatch, "good", "good-method")])

    assert set(catalogue.methods) == {"good-method"}
    assert ENDINGS[name].rpartition("('")[2].rstrip("')") in catalogue.broken["bad"]
    with pytest.raises(PluginError, match="cannot be used"):
        discover([bad], strict=True)


def test_ctrl_c_while_a_plugin_loads_stays_ctrl_c(tmp_path, monkeypatch):
    (tmp_path / "plugin_stopped.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        discover([EntryPoint("bad", "plugin_stopped", "msibench")])


def test_what_plugins_print_goes_to_stderr(tmp_path, monkeypatch, capsys):
    (tmp_path / "plugin_loud.py").write_text("print('hello')\nclass Mine: ...", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    discover([EntryPoint("loud", "plugin_loud", "msibench")])
    method_from_file(f"{tmp_path / 'plugin_loud.py'}:Mine")

    assert capsys.readouterr() == ("", "hello\nhello\n")


def test_a_reason_holds_no_control_characters(tmp_path, monkeypatch):
    (tmp_path / "plugin_red.py").write_text("raise ValueError('\x1b[31mred')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    broken = discover([EntryPoint("red", "plugin_red", "msibench")]).broken["red"]
    assert "\x1b" not in broken
    assert "red" in broken


def test_a_file_that_exits_is_refused_with_its_words(tmp_path):
    (tmp_path / "mine.py").write_text("import sys; sys.exit('wrong Python')", encoding="utf-8")
    with pytest.raises(PluginError, match="wrong Python"):
        method_from_file(f"{tmp_path / 'mine.py'}:Mine")


def test_strict_makes_a_broken_plugin_fatal():
    bad = EntryPoint("mambair", "no_such_module", "msibench")
    with pytest.raises(PluginError, match=r"mambair.*cannot be used"):
        discover([bad], strict=True)


def test_a_typo_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'bicubic'"):
        discover().method("bicubc")


def test_two_plugins_with_one_method_name_are_both_named(monkeypatch):
    points = [offer(monkeypatch, name, "same") for name in ("first", "second")]
    with pytest.raises(DuplicateNameError, match=r"'first'.*'second'"):
        discover(points)


def test_a_misspelt_hook_is_an_error_that_names_the_right_one(monkeypatch):
    @hookimpl
    def msibench_method():
        yield

    reason = discover([offer(monkeypatch, "p", msibench_method=msibench_method)]).broken["p"]
    assert "msibench_method" in reason
    assert "Did you mean 'msibench_methods'" in reason


def test_a_wrong_api_version_says_which_is_spoken(monkeypatch):
    point = offer(monkeypatch, "old", "m", msibench_api=99)
    assert "API 99, this msibench uses 1" in discover([point]).broken["old"]


def test_a_hook_that_yields_the_wrong_thing_is_told(monkeypatch):
    @hookimpl
    def msibench_methods():
        yield "bicubic"

    point = offer(monkeypatch, "p", msibench_methods=msibench_methods)
    assert "must yield MethodSpec, got str" in discover([point]).broken["p"]


LIGHT = (
    "import msibench",
    "from msibench.plugin_manager import discover; discover()",
    "from msibench.cli.main import main\ntry: main(['list', 'methods'])\nexcept SystemExit: pass",
    "from msibench.cli.main import main\ntry: main(['list', 'datasets'])\nexcept SystemExit: pass",
    "import msibench.scoring",
    "import msibench.leaderboard.render",
)


def test_nothing_heavy_is_imported():
    """One after the other, in one process that says after which torch was there."""
    script = (
        "import sys\n"
        f"for statement in {LIGHT!r}:\n"
        "    exec(statement, {})\n"
        "    if 'torch' in sys.modules: sys.exit(statement)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_single_file_is_a_method(tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        textwrap.dedent(
            """
            class Mine:
                def __init__(self, strength=2): ...
            """
        )
    )
    spec = method_from_file(f"{source}:Mine")
    assert spec.name == "mine"
    assert spec.config == {"strength": 2}
    with pytest.raises(PluginError, match="no class 'Other'; it defines Mine"):
        method_from_file(f"{source}:Other")
    with pytest.raises(PluginError, match="file not found:"):
        method_from_file(f"{tmp_path / 'gone.py'}:Mine")


def test_a_name_stands_for_one_method_everywhere(tmp_path, monkeypatch):
    from msibench.errors import DataError
    from msibench.testing.pytest_plugin import find_method

    catalogue = discover()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bicubic").mkdir()  # an installed name comes before a folder of that name
    assert resolve_method("bicubic", catalogue) is catalogue.methods["bicubic"]
    assert find_method("bicubic").name == "bicubic"
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    assert resolve_method("mine.py:Mine", catalogue).name == "mine"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        resolve_method("empty", catalogue)
    with pytest.raises(UnknownNameError, match="No usable plugin named 'nobody'"):
        resolve_method("nobody:file.pth", catalogue)
    with pytest.raises(UnknownNameError, match="Did you mean 'bicubic'"):
        resolve_method("bicubik", catalogue)


def test_a_plugin_without_checkpoints_says_so(monkeypatch):
    point = offer(monkeypatch, "p", "m")
    with pytest.raises(PluginError, match="makes no methods from files"):
        method_from_plugin("p:file.pth", discover([point]), [point])
    with pytest.raises(UnknownNameError, match="No usable plugin named 'q'"):
        method_from_plugin("q:file.pth", discover([point]), [])
