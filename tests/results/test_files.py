"""Files of a results folder: their digests, and what is said where they cannot be written."""

import errno
import hashlib
import os

import pytest

from msibench.errors import StoreError
from msibench.results.files import WHOLE_BYTES, explained, sha256_of, write_together


@pytest.mark.parametrize("size", [0, 1, WHOLE_BYTES, WHOLE_BYTES + 1, 3 * WHOLE_BYTES])
def test_a_digest_is_that_of_all_bytes(tmp_path, size):
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "a").write_bytes(data[:size])
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data[:size]).hexdigest()


def test_texts_and_bytes_are_written_together(tmp_path):
    write_together({tmp_path / "a": "µ", tmp_path / "b": b"\xff"})
    assert (tmp_path / "a").read_bytes() == "µ".encode()
    assert (tmp_path / "b").read_bytes() == b"\xff"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space"),
        ((errno.EROFS, errno.EACCES, errno.EPERM), "choose another folder"),
        ((errno.ENOENT, errno.ESTALE), "put the results folder back"),
        ((errno.ENOTDIR, errno.EEXIST), "a file lies where a folder is needed"),
        ((errno.EIO,), "when it can be written"),
    ],
)
def test_every_fault_of_a_disk_has_its_advice(tmp_path, numbers, said):
    for number in numbers:
        with pytest.raises(StoreError, match=said) as caught, explained(tmp_path):
            raise OSError(number, os.strerror(number))
        assert os.strerror(number) in str(caught.value)
    with pytest.raises(StoreError, match="free some space"), explained(tmp_path):
        raise OSError(f"Can't write data (file write failed: errno = {errno.ENOSPC}, error message")
    with pytest.raises(StoreError, match="cell 3") as caught, explained(tmp_path):
        raise StoreError("cell 3")
    assert str(caught.value) == "cell 3"
