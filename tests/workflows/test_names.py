"""Names of files and models, as callers from Python write them."""

from pathlib import Path

from scalefuse.data import write_image
from scalefuse.data.phantom import head_phantom
from scalefuse.workflows.fuse import fuse
from scalefuse.workflows.names import takes_names


@takes_names("source", "output")
def given(models, source, output, options=None):
    return models, source, output, options


def test_strings_become_paths_and_one_model_a_list():
    assert given("dilran", "in", output="out", options="o") == (["dilran"], Path("in"), Path("out"), "o")
    assert given(["a", "b"], ["x", Path("y")], Path("z")) == (
        ["a", "b"],
        [Path("x"), Path("y")],
        Path("z"),
        None,
    )
    assert given.__name__ == "given"


def test_a_workflow_takes_strings(tmp_path):
    write_image(tmp_path / "a.png", head_phantom(32, 1).mri, bits=8)
    done = fuse(str(tmp_path / "a.png"), str(tmp_path / "a.png"), str(tmp_path / "out"))
    assert [file.parent for file in done.written] == [tmp_path / "out"]
