"""A disk that is full while a file is written: one message, no half file, and no crash at the end."""

import shlex
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
from msibench import MSImage
from msibench.errors import StoreError
from pathlib import Path
rng = np.random.default_rng(0)
values = rng.random((20, 64, 64), dtype=np.float32)
image = MSImage(values, np.arange(1.0, 21.0), pixel_size_um=10.0)
target = Path({target!r})
try:
    {write}
except StoreError as error:
    print(error)
    left = [path.name for path in target.parent.iterdir()]
    assert left == ["older"], left
    sys.exit(2)
"""
WRITERS = {
    "section.h5": "from msibench.io.hdf5 import write_hdf5; write_hdf5(target, image)",
    "section.npz": "from msibench.io.export import write_image; write_image(target, image)",
    "section.ome.tif": "from msibench.io.ome_tiff import write_ome_tiff; write_ome_tiff(target, image)",
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_an_error_and_leaves_no_half_file(tmp_path, name):
    text = SCRIPT.format(target=str(tmp_path / name), write=WRITERS[name])
    line = (
        f"mount -t tmpfs -o size=128k none {tmp_path} || exit 77; echo stays > {tmp_path}/older; "
        f"exec {sys.executable} -c {shlex.quote(text)}"
    )
    words = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", line]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be made here: {done.stderr[-200:]}")
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "cannot be written" in done.stdout
    assert done.stderr == ""


def test_what_a_killed_command_left_is_removed_by_the_next_one(tmp_path):
    text = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from msibench.io.partial import beside\n"
        f"with beside(Path({str(tmp_path / 'a.h5')!r})) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", text], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("a.h5-")
    from msibench.io.partial import beside

    with beside(tmp_path / "b.h5") as partial:
        partial.write_text("other")
        assert left.exists(), "another file's"
    with beside(tmp_path / "a.h5") as partial:
        partial.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5", "b.h5"}
