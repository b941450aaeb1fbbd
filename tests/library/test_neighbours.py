"""Ion images through xarray, AnnData and SpatialData, and back: the real packages, nothing changed."""

import sys

import numpy as np
import pytest

import msibench as mb

NEEDS = "needs the extra: pip install 'msibench[neighbours]'"


def package(name):
    return pytest.importorskip(name, reason=NEEDS)


@pytest.fixture
def section():
    """Not square, an m/z twice, pixels that were not measured, and one that is missing in one ion only."""
    rng = np.random.default_rng(0)
    values = rng.poisson(20, (3, 7, 5)).astype(np.float32) / 3
    values[:, :2, :3] = np.nan
    values[1, 6, 4] = np.nan
    mask = np.isfinite(values).all(0) & (rng.random((7, 5)) > 0.3)
    mz = np.array([741.53, 798.54001, 798.54002])
    return mb.MSImage(values, mz, pixel_size_um=12.5, mask=mask, ppm=5.0, unit="counts")


def same(one, two):
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.mz, two.mz)
    np.testing.assert_array_equal(one.pixel_size_um, two.pixel_size_um)
    assert (one.mask is None) == (two.mask is None)
    if one.mask is not None:
        np.testing.assert_array_equal(one.mask, two.mask)
    assert (one.ppm, one.unit) == (two.ppm, two.unit)


@pytest.fixture(params=["all known", "nothing known"])
def either(request, section):
    if request.param == "all known":
        return section
    return mb.MSImage(section.values, np.full(3, np.nan))


class TestXarray:
    def test_there_and_back(self, either):
        package("xarray")
        same(mb.from_xarray(mb.to_xarray(either)), either)

    def test_it_is_indexed_as_its_users_index(self, section):
        package("xarray")
        array = mb.to_xarray(section)
        near = array.sel(mz=741.5, y=81, x=56, method="nearest")
        assert float(near) == section.values[0, 6, 4]
        assert array.dims == ("mz", "y", "x")
        assert float(array.y[0]) == 6.25
        assert array.where(array.tissue).count() == section.mask.sum() * 3

    def test_through_a_file(self, section, tmp_path):
        xarray = package("xarray")
        pytest.importorskip("h5netcdf", reason="writing netCDF needs h5netcdf")
        mb.to_xarray(section).to_netcdf(tmp_path / "section.nc", engine="h5netcdf")
        same(
            mb.from_xarray(xarray.load_dataarray(tmp_path / "section.nc", engine="h5netcdf")),
            section,
        )

    def test_what_was_coarsened_has_the_larger_pixel(self, section):
        package("xarray")
        array = mb.to_xarray(section).drop_vars("tissue").coarsen(y=2, x=2, boundary="trim").mean()
        assert mb.from_xarray(array.transpose("x", "mz", "y")).pixel_size_um == 25.0

    def test_bad_arrays_are_told(self, section):
        package("xarray")
        array = mb.to_xarray(section)
        with pytest.raises(mb.MSIBenchError, match="mz is missing"):
            mb.from_xarray(array.rename(mz="channel"))
        with pytest.raises(mb.MSIBenchError, match="square pixels"):
            mb.from_xarray(array.isel(x=slice(None, None, 2)))


class TestAnnData:
    def test_there_and_back(self, either):
        package("anndata")
        same(mb.from_anndata(mb.to_anndata(either)), either)

    def test_through_a_file(self, section, tmp_path):
        anndata = package("anndata")
        mb.to_anndata(section).write_h5ad(tmp_path / "section.h5ad")
        same(mb.from_anndata(anndata.read_h5ad(tmp_path / "section.h5ad")), section)

    def test_pixels_and_ions_are_where_other_tools_look(self, section):
        package("anndata")
        table = mb.to_anndata(section)
        assert table.shape == (7 * 5 - 6, 3)
        np.testing.assert_array_equal(table.var["mz"], section.mz)
        assert table.var_names.is_unique
        x, y = table.obsm["spatial"][-1]
        assert (x, y) == (4, 6)
        assert table.X[-1, 0] == section.values[0, 6, 4]

    def test_some_ions_and_some_pixels_of_it(self, section):
        package("anndata")
        table = mb.to_anndata(section)
        part = mb.from_anndata(table[table.obs["x"] > 2, [2, 0]])
        assert part.shape == section.shape
        np.testing.assert_array_equal(part.values[:, :, 3:], section.values[[2, 0]][:, :, 3:])
        assert np.isnan(part.values[:, :, :3]).all()

    def test_a_sparse_table_of_another_tool(self):
        """As converters write: no grid stated, pixel numbers from anywhere, only what was measured."""
        anndata = package("anndata")
        pd = pytest.importorskip("pandas")
        sparse = pytest.importorskip("scipy.sparse")
        table = anndata.AnnData(
            X=sparse.csr_matrix(np.array([[1, 0], [0, 2], [3, 4]], dtype=np.float32)),
            obs=pd.DataFrame({"x": [10, 11, 11], "y": [4, 4, 6]}, index=list("abc")),
            var=pd.DataFrame({"mz": [300.0, 400.0]}, index=["one", "two"]),
        )
        image = mb.from_anndata(table, pixel_size_um=50.0)
        assert (image.shape, image.pixel_size_um, image.mask) == ((3, 2), 50.0, None)
        np.testing.assert_array_equal(image.values[0], [[1, 0], [np.nan, np.nan], [np.nan, 3]])
        table.obsm["spatial"] = np.array([[500.0, 200], [550, 200], [550, 300]])
        with pytest.raises(mb.MSIBenchError, match="step=50"):
            mb.from_anndata(table)
        same(mb.from_anndata(table, step=50, pixel_size_um=50.0), image)
        table.layers["twice"] = table.X * 2
        assert mb.from_anndata(table, layer="twice", step=50).values[1, 2, 1] == 8

    def test_bad_tables_are_told(self, section):
        package("anndata")
        table = mb.to_anndata(section)
        table.obsm["spatial"] = np.array(table.obsm["spatial"])
        table.obsm["spatial"][0] = table.obsm["spatial"][1]
        with pytest.raises(mb.MSIBenchError, match="share their position with another"):
            mb.from_anndata(table)
        table.obsm["spatial"][0] = (400, 2)
        with pytest.raises(mb.MSIBenchError, match="outside the grid of 7 x 5"):
            mb.from_anndata(table)
        table.obsm["spatial"][0] = (0.4, 2)
        with pytest.raises(mb.MSIBenchError, match="grid of step 1"):
            mb.from_anndata(table)
        del table.obsm["spatial"], table.obs["x"]
        with pytest.raises(mb.MSIBenchError, match=r"obsm\['spatial'\]"):
            mb.from_anndata(table)
        del table.var["mz"]
        with pytest.raises(mb.MSIBenchError, match=r"var\['mz'\]"):
            mb.from_anndata(table)


@pytest.mark.filterwarnings("ignore")  # of the packages that it brings
class TestSpatialData:
    def test_image_and_table_say_the_same_in_um(self, section):
        package("spatialdata")
        from spatialdata.transformations import get_transformation

        data = mb.to_spatialdata(section, "kidney")
        image = data.images["kidney"]
        np.testing.assert_array_equal(image.to_numpy(), section.values)
        to_um = get_transformation(image).to_affine_matrix(("x", "y"), ("x", "y"))
        np.testing.assert_allclose(to_um @ [4, 6, 1], [50.0, 75.0, 1])
        np.testing.assert_allclose(
            get_transformation(data.labels["kidney_pixels"]).to_affine_matrix(
                ("x", "y"), ("x", "y")
            ),
            to_um,
        )
        table = data.tables["kidney_table"]
        last = table.obs.iloc[-1]
        assert data.labels["kidney_pixels"].to_numpy()[6, 4] == last["pixel"]
        same(mb.from_anndata(table), section)

    def test_through_a_store(self, section, tmp_path):
        spatialdata = package("spatialdata")
        mb.to_spatialdata(section).write(tmp_path / "section.zarr")
        read = spatialdata.read_zarr(tmp_path / "section.zarr")
        same(mb.from_anndata(read.tables["section_table"]), section)
        np.testing.assert_array_equal(read.images["section"].to_numpy(), section.values)

    def test_a_guide_covers_the_same_field_of_view(self, section):
        package("spatialdata")
        from spatialdata import get_extent

        guide = mb.GuideImage(np.zeros((3, 28, 20), np.float32), 3.125, ("r", "g", "b"))
        data = mb.to_spatialdata(section, guide=guide)
        extents = [get_extent(data.images[name]) for name in ("section", "section_guide")]
        assert extents[0] == extents[1]
        assert extents[0]["y"] == (0.0, 87.5)
        with pytest.raises(mb.MSIBenchError, match="field of view"):
            mb.to_spatialdata(section, guide=mb.GuideImage(np.zeros((3, 28, 28), np.float32)))


@pytest.mark.parametrize("name", ["xarray", "anndata", "spatialdata"])
def test_without_the_package_the_message_says_the_command(name, section, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(mb.MSIBenchError, match=rf"needs {name}.*pip install 'msibench\[neigh"):
        getattr(mb, f"to_{name}")(section)
