import sys

import numpy as np
import pytest

from msibench import MSImage
from msibench.decomposition import embed
from msibench.errors import ConfigurationError, DataError, MSIBenchError


def section(channels=5, rows=9, columns=7, seed=0):
    values = np.random.default_rng(seed).gamma(2, size=(channels, rows, columns))
    mask = np.zeros((rows, columns), dtype=bool)
    mask[1:-1, 2:] = True
    return MSImage(values.astype(np.float32), np.arange(channels) + 100.0, 50.0, mask)


@pytest.mark.parametrize("method", ["pca", "nmf"])
def test_each_channel_fills_zero_to_one_on_the_tissue(method):
    image = section()

    embedded = embed(image, method=method)

    assert embedded.values.shape == (3, 9, 7)
    tissue = embedded.values[:, image.mask]
    np.testing.assert_allclose(tissue.min(1), 0, atol=1e-7)
    np.testing.assert_allclose(tissue.max(1), 1, atol=1e-6)
    assert not embedded.values[:, ~image.mask].any()
    assert np.isnan(embedded.mz).all()
    assert embedded.pixel_size_um == 50.0


def test_principal_scores_equal_scikit_learns():
    from sklearn.decomposition import PCA

    image = section()
    scores = PCA(3).fit_transform(image.values[:, image.mask].T.astype(np.float64))

    found = embed(image, channels=3).values[:, image.mask].T

    for channel in range(3):
        assert abs(np.corrcoef(found[:, channel], scores[:, channel])[0, 1]) > 0.999999


@pytest.mark.parametrize("method", ["pca", "nmf"])
def test_the_same_seed_gives_the_same_bytes(method):
    one, two = (embed(section(), method=method, seed=3).values.tobytes() for _ in range(2))

    assert one == two


def test_pixels_with_nan_are_left_out():
    image = section()
    holed = image.values.copy()
    holed[2, 4, 4] = np.nan

    embedded = embed(MSImage(holed, image.mz, mask=image.mask))

    assert np.isfinite(embedded.values).all()
    assert not embedded.values[:, 4, 4].any()


@pytest.mark.parametrize("method", ["pca", "nmf"])
def test_one_ion_image_fills_the_first_channel_only(method):
    embedded = embed(section(channels=1), method=method)

    assert embedded.values[0].max() == pytest.approx(1)
    assert not embedded.values[1:].any()


@pytest.mark.parametrize("method", ["pca", "nmf"])
def test_a_constant_section_embeds_as_zero(method):
    flat = MSImage(np.full((2, 3, 4), 5, dtype=np.float32), [1.0, 2.0])

    assert np.isfinite(embed(flat, method=method).values).all()


def test_an_empty_mask_is_an_error():
    image = section()
    with pytest.raises(DataError, match="no pixel"):
        embed(MSImage(image.values, image.mz, mask=np.zeros_like(image.mask)))


def test_an_unknown_method_is_an_error():
    with pytest.raises(ConfigurationError, match="pca, nmf or umap"):
        embed(section(), method="tsne")


def test_umap_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MSIBenchError, match=r"msibench\[umap\]"):
        embed(section(), method="umap")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap_keeps_two_tissues_apart():
    pytest.importorskip("umap")
    image = section(rows=20, columns=20)
    values = image.values.copy()
    values[:, :, 10:] += 30

    embedded = embed(MSImage(values, image.mz), method="umap", channels=2, seed=1)

    halves = embedded.values[:, :, :10].mean((1, 2)), embedded.values[:, :, 10:].mean((1, 2))
    assert np.abs(halves[0] - halves[1]).max() > 0.3
