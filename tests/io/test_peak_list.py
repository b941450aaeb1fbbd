"""Lists of m/z as programs and people write them."""

import pytest

from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.io import peak_list
from msibench.io.peak_list import LARGEST_LIST, read_peak_list

METASPACE = """# Generated at 1/2/2024 3:04:05 PM
# URL: https://metaspace2020.eu/annotations?ds=2016-09-22_11h16m17s
group,datasetName,datasetId,formula,adduct,chemMod,neutralLoss,ion,mz,msm,fdr,rhoSpatial,moleculeNames
"G, a","liver, left",2016-09-22_11h16m17s,C42H82NO8P,M+K,,,C42H82NO8PK+,798.5410,0.99,0.05,1,"PC(34:1), PE(37:1)"
"G, a","liver, left",2016-09-22_11h16m17s,C42H82NO8P,M+H,,,C42H83NO8P+,760.5851,0.97,0.05,1,"PC(34:1)"
"G, a","liver, left",2016-09-22_11h16m17s,C42H82NO8P,M+H,,,C42H83NO8P+,760.5851,0.97,0.05,1,"an isomer"
"""
SCILS = """# Exported with SCiLS Lab Version 9.00.12345
# Export time: 2024-01-01 10:00:00
# Object Name: my peaks
m/z;Interval Width (+/- Da);Color;Name
798.541;0.00798;#e41a1c;
760.5851;0.00760;#377eb8;"PC(34:1)"
"""
TWO = (798.541, 760.5851)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("metaspace.csv", METASPACE, TWO),
        ("scils.csv", SCILS, TWO),
        ("plain.txt", "798.541\n760.5851\n\n", TWO),
        ("bom.txt", "\ufeffm/z intensity\r\n798.541 3\r\n760.5851 4\r\n", TWO),
        ("tabs.tsv", "name\tmass\nPC\t798.541\nPC(34:1)\t760.5851\n", TWO),
        ("no-names.csv", "798.541,12,3\n760.5851,10,3\n", TWO),
        ("labels.csv", "PC(36:1),798.541\nPC(34:1),760.5851\n", TWO),
        ("second.csv", "id,mz value,rt\n1,798.541,3\n2,760.5851,4\n", TWO),
        ("measured.csv", "mz_error,mz,n\n0.1,798.541,3\n0.2,760.5851,4\n", TWO),
        ("line.txt", "798.541, 760.5851,600\n", (*TWO, 600.0)),
        ("whole.csv", "mz,intensity\n798,54\n760,53\n", (798.0, 760.0)),
        ("one.txt", "798.541", (798.541,)),
        ("light.txt", "0.5\n1\n", (0.5, 1.0)),
    ],
)
def test_lists_are_read_as_they_come(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    assert read_peak_list(path) == expected
    path.write_bytes(text.encode("utf-16"))
    assert read_peak_list(path) == expected


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (b"m/z;Width\n798,541;0,008\n", ConfigurationError, "line 2: '798,541' .* decimal comma; write '798.541'"),
        (b"798,54\n741,53\n", ConfigurationError, "line 1: '798,54' .* decimal comma"),
        (b"mz,name\nabc,def\n", DataError, "line 2: no m/z in 'abc; def'; expected a number in column 1"),
        (b"798.5\n-3\n", DataError, "line 2: an m/z is a positive number, got '-3'"),
        (b"798.5\nnan\n", DataError, "line 2"),
        (b"798.5\n0\n", DataError, "line 2: an m/z is a positive number, got '0'"),
        (b"798.5\ninf\n", DataError, "line 2: an m/z is a positive number, got 'inf'"),
        (b"798.5\n" + b"x" * 81, DataError, "line 2: no m/z in 'x{80}'; expected a number$"),
        (b"798.5\n74_1.5\n", DataError, "line 2: no m/z in '74_1.5'; expected a number$"),
        (b"# only this\n", DataError, "holds no m/z"),
        (b"", DataError, "holds no m/z"),
        (b"mz,name\n", DataError, "names of columns and no m/z"),
        (b"intensity,mass\n55.5,798.541\n", DataError, r"not said \(intensity, mass\); call it mz"),
        (b"PK\x03\x04\0\0\0", DataError, "saved as CSV first"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_with_its_line(tmp_path, raw, error, message):
    path = tmp_path / "a.csv"
    path.write_bytes(raw)
    with pytest.raises(error, match=message):
        read_peak_list(path)


def test_a_list_that_is_not_there_or_too_large(tmp_path):
    with pytest.raises(MissingDataError, match="peak list not found"):
        read_peak_list(tmp_path / "gone.csv")
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(LARGEST_LIST + 1)
    with pytest.raises(DataError, match="it is not a peak list"):
        read_peak_list(tmp_path / "large.csv")


def test_a_list_of_just_the_largest_size_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(peak_list, "LARGEST_LIST", 3 << 20)
    path = tmp_path / "a.csv"
    for size in (3 << 20, (3 << 20) + 1):
        path.write_bytes(b"798.5\n#".ljust(size, b"x"))
        if size == 3 << 20:
            assert read_peak_list(path) == (798.5,)
        else:
            with pytest.raises(DataError, match="is larger than 3 MiB: it is not a peak list"):
                read_peak_list(path)
