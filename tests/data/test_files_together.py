"""Files that belong together are moved into place together, or none of them is."""

import pytest

from scalefuse.data.atomic import files_together
from scalefuse.errors import OutputError


def contents(folder):
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def old(tmp_path):
    (tmp_path / "cases.csv").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def write(folder, *names):
    for name in names:
        (folder / name).write_text("new")


def test_what_else_lies_there_stays(old):
    with files_together(old) as results:
        write(results, "cases.csv", "summary.json")
        assert contents(old)["cases.csv"] == "old"
    assert contents(old) == {"cases.csv": "new", "summary.json": "new", "notes.txt": "mine"}
    assert len(list(old.iterdir())) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_moved_where_something_is_missing(old, error):
    def stopped():
        with files_together(old) as results:
            write(results, "cases.csv")
            raise error

    with pytest.raises(error):
        stopped()
    assert contents(old) == {"cases.csv": "old", "notes.txt": "mine"}
    assert len(list(old.iterdir())) == 2


def test_a_folder_in_the_way_of_one_keeps_all_from_being_moved(old):
    (old / "summary.json").mkdir()
    with (
        pytest.raises(OutputError, match=r"summary\.json: is a folder, but a file is to be written"),
        files_together(old) as results,
    ):
        write(results, "cases.csv", "summary.json")
    assert contents(old) == {"cases.csv": "old", "notes.txt": "mine"}


def test_errors_name_the_results(old):
    with pytest.raises(OutputError) as caught, files_together(old) as results:
        raise OutputError(f"{results / 'cases.csv'}: cannot be written: the disk is full.")
    assert str(caught.value) == f"{old / 'cases.csv'}: cannot be written: the disk is full."


def test_a_link_is_followed(old, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "table.csv"
    elsewhere.write_text("old")
    (old / "cases.csv").unlink()
    (old / "cases.csv").symlink_to(elsewhere)
    with files_together(old) as results:
        write(results, "cases.csv")
    assert (old / "cases.csv").is_symlink()
    assert elsewhere.read_text() == "new"
