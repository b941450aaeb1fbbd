"""What metrics keep of a reference is found by its content alone, and changes no value."""

import numpy as np
import pytest

from msibench import metrics
from msibench.metrics import kept, products
from msibench.metrics.kept import Kept, bytes_of, of_images
from msibench.metrics.shift import displacement


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(kept, "_of_references", Kept(1 << 24))


def images(seed, shape=(2, 48, 40)):
    return np.random.default_rng(seed).random(shape)


def test_a_result_is_found_again_by_content_shape_and_values():
    made = []

    def asked(array, *values, what="test"):
        return of_images(what, array, lambda: made.append(1) or [array.sum()], *values)

    first = images(0)
    found = asked(first, 1.0)
    assert asked(first.copy(), 1.0) is found
    assert len(made) == 1
    other = first.copy()
    other[1, 3, 4] += 1e-12
    turned = first.reshape(2, 40, 48)
    for number, (array, values) in enumerate(
        [(other, (1.0,)), (turned, (1.0,)), (first, (2.0,)), (first.astype(np.float32), (1.0,))]
    ):
        assert asked(array, *values) is not found
        assert len(made) == 2 + number
    assert asked(first, 1.0, what="another") is not found


def test_the_results_asked_for_last_stay_within_the_room():
    store = Kept(3 * 800)
    for number in range(3):
        store.get(number, lambda: np.zeros(100))
    store.get(0, lambda: pytest.fail("it was kept"))
    store.get("new", lambda: np.zeros(100))
    assert store.held == 3 * 800
    store.get(0, lambda: pytest.fail("it was asked for after the second"))
    assert store.get(1, lambda: "made again") == "made again"


def test_large_images_are_not_kept():
    large = np.zeros((1 << 24) // kept.SMALL // 8 + 1)
    assert of_images("test", large, list) is not of_images("test", large, list)


def test_sizes_are_those_of_all_arrays_in_a_result():
    assert bytes_of([np.zeros(3), (np.zeros(2, np.float32), "text")]) == 24 + 8


@pytest.mark.parametrize("name", ["vif", "nqm", "ssim", "vifp"])
def test_a_value_beside_what_is_kept_has_the_bits_of_a_fresh_one(name, monkeypatch):
    measure, reference = getattr(metrics, name), images(1)
    mask = np.zeros(reference.shape[1:], bool)
    mask[4:40, 3:37] = True
    for test in (images(2), images(3), reference + 0.1):
        for where in (None, mask):
            again = measure(test, reference, mask=where)
            with monkeypatch.context() as patched:
                patched.setattr(kept, "_of_references", Kept(0))
                np.testing.assert_array_equal(again, measure(test, reference, mask=where))


def test_a_displacement_beside_what_is_kept_has_the_bits_of_a_fresh_one(monkeypatch):
    low = images(4, (2, 12, 10))
    for seed in (5, 6):
        fine = np.roll(np.kron(low, np.ones((1, 4, 4))), seed, axis=2) + 0.1 * images(seed)
        again = displacement(fine, low)
        with monkeypatch.context() as patched:
            patched.setattr(kept, "_of_references", Kept(0))
            np.testing.assert_array_equal(again, displacement(fine, low))


def test_one_thread_is_limited_once_and_given_back_by_the_last(monkeypatch):
    said = []

    class Libraries:
        def limit(self, **asked):
            said.append(asked)
            return self

        def restore_original_limits(self):
            said.append("back")

    monkeypatch.setattr(products, "_libraries", Libraries)
    monkeypatch.setattr(products, "_limit", products._Limit())
    with products.one_thread():
        products.product(np.eye(2), np.eye(2))
        with pytest.raises(ZeroDivisionError), products.one_thread():
            _ = 1 / 0
    assert said == [{"limits": 1, "user_api": "blas"}, "back"]
