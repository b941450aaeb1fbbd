"""Files that people write come from every editor: marks, UTF-16, old line endings."""

import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError
from msibench.registration import Transform, read_bigwarp
from msibench.runner.executors.slurm.machine import load_machine
from msibench.tracks import load_track

EDITORS = [("utf-8", ""), ("utf-8", "\ufeff"), ("utf-16-le", "\ufeff"), ("utf-16-be", "\ufeff")]
TRACK = """schema_version = 1
name = "toy"
title = "Gewebe µm"

[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
"""


@pytest.mark.parametrize(("encoding", "mark"), EDITORS)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_editor_writes_files_that_are_read(tmp_path, encoding, mark, ending):
    def save(name, text):
        path = tmp_path / name
        path.write_bytes((mark + text.replace("\n", ending)).encode(encoding))
        return path

    assert load_track(str(save("track.toml", TRACK))).title == "Gewebe µm"
    assert load_machine(save("machine.toml", "# SLURM\n")) == load_machine(None)
    transform = save("t.json", '{"A": [[2, 0],\n [0, 3]], "b": [4, 5]}\n')
    np.testing.assert_array_equal(Transform.from_file(transform)([1.0, 1.0]), [6, 8])
    marks = read_bigwarp(
        save("marks.csv", '"Pt-0","true","1","2","3","4"\n"Pt-1","true","5","6","7","8"\n')
    )
    np.testing.assert_array_equal(marks.moving, [[2, 1], [6, 5]])


def test_text_that_is_neither_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "track.toml").write_bytes(TRACK.encode("cp1252"))
    with pytest.raises(ConfigurationError, match="save it as UTF-8"):
        load_track(str(tmp_path / "track.toml"))
    (tmp_path / "t.json").write_bytes(b'{"A": "\xb5"}')
    with pytest.raises(DataError, match="not a transform file"):
        Transform.from_file(tmp_path / "t.json")
