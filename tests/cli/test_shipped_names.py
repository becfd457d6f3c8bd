"""A folder that is called as a shipped bundle is."""

import shutil

from scalefuse.bundle import SHIPPED, load_bundle


def test_a_folder_that_is_no_bundle_does_not_hide_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hifuse-pneumoniamnist"
    folder.mkdir()
    (folder / "notes.txt").write_text("a run")
    assert load_bundle(folder.name).source == SHIPPED / folder.name
    # What is a bundle is meant.
    shutil.copytree(SHIPPED / folder.name, folder, dirs_exist_ok=True)
    assert load_bundle(folder.name).source.resolve() == folder
