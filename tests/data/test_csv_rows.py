"""CSV files however they were saved."""

import pytest

from scalefuse.data.csv_rows import read_rows
from scalefuse.errors import InputError


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_line_ends_and_delimiters(tmp_path, end, delimiter):
    cells = [f"name{delimiter}note", f"a{delimiter}x", f'b{delimiter}"two\nlines"', "", "c"]
    text = end.join(cells)
    file = tmp_path / "t.csv"
    file.write_bytes(("\ufeff" + text).encode())
    header, rows = read_rows(file)
    assert header == ["name", "note"]
    expected = [
        (2, {"name": "a", "note": "x"}),
        (3, {"name": "b", "note": "two\nlines"}),
        (6, {"name": "c", "note": None}),
    ]
    assert rows == expected


def test_faults_name_the_line(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('a,b\n1,"x\ny",3\n')
    with pytest.raises(InputError, match="line 2 has 3 cells, but the header has 2"):
        read_rows(file)
    file.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(InputError, match="save it as UTF-8"):
        read_rows(file)


def test_two_columns_of_one_name_are_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("path,label , label,,\na.png,x,y,,\n")
    with pytest.raises(InputError, match="2 columns are called 'label'; rename or remove all but one"):
        read_rows(file)
    file.write_text("path,label,,\na.png,x,,\n")  # a spreadsheet's empty columns say nothing
    assert read_rows(file)[0] == ["path", "label", "", ""]


def test_a_header_that_never_ends_is_named(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('image,"label\n' + "a.png,x\n" * 30_000)
    with pytest.raises(InputError, match="the header is not CSV"):
        read_rows(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv: no such file; check the name"):
        read_rows(tmp_path / "gone.csv")
