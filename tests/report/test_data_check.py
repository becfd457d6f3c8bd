"""The data check as a web page."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Pillow

from scalefuse.data.check import DataCheck
from scalefuse.data.check_segmentation import check_segmentation
from scalefuse.errors import OutputError
from scalefuse.report.data_check import write_data_check_html
from scalefuse.report.thumbnails import OUTLINE_COLOURS, outline, thumbnail_uri


class Balanced(HTMLParser):
    """Collects tags and demands that each one is closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.sources += [found["src"]] if "src" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "<set>"
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
            mask = np.zeros((40, 60), np.uint8)
            mask[10:20, 10 : 20 + 8 * index] = 255
            Pillow.fromarray(pixels).save(folder / split / "images" / f"{split}&{index}.png")
            Pillow.fromarray(mask).save(folder / split / "masks" / f"{split}&{index}.png")
    copy = Pillow.open(folder / "train/images/train&1.png")
    copy.save(folder / "val/images/val&1.png")
    (folder / "val/images/broken.png").write_text("x")
    return folder


def test_page_holds_findings_tables_and_pictures_and_loads_nothing(folder, tmp_path):
    check = check_segmentation(folder)
    write_data_check_html(check, tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    page = Balanced()
    page.feed(text)
    assert page.open == []
    assert page.links == []
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert not re.search(r"https?://", text)
    # 8 examples, and the two of the leak.
    assert len(page.sources) == 10
    assert text.index("unreadable-image") < text.index("leak") < text.index("<h2>Splits</h2>")
    assert "not a medical device" in text
    assert "Mend the errors before training" in text


def test_names_from_the_disk_cannot_become_markup(folder, tmp_path):
    write_data_check_html(check_segmentation(folder), tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "<set>" not in text
    assert "&lt;set&gt;" in text
    assert "train/train&amp;0" in text


def test_the_bars_are_the_histogram(folder, tmp_path):
    check = check_segmentation(folder)
    write_data_check_html(check, tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    counts = [int(n) for n in re.findall(r'title="\d+ to \d+ %: (\d+)"', text)]
    shares = [10 * (10 + 8 * index) / 2400 for index in range(4)]
    assert counts == [*np.histogram(shares, 20, (0, 1))[0]] * 2


def test_an_empty_check(tmp_path):
    write_data_check_html(DataCheck(tmp_path), tmp_path / "check.html")
    assert "Nothing to report" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_data_check_html(DataCheck(tmp_path), tmp_path / "no" / "check.html")


def test_thumbnail_shrinks_and_outlines(tmp_path):
    Pillow.fromarray(np.full((400, 200), 60, np.uint8)).save(tmp_path / "i.png")
    mask = np.zeros((400, 200), np.uint8)
    mask[100:300, 50:150] = 255
    Pillow.fromarray(mask).save(tmp_path / "m.png")
    uri = thumbnail_uri(tmp_path / "i.png", [tmp_path / "m.png"], side=100)
    picture = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)
    assert picture.shape == (100, 50, 3)
    yellow = picture[..., 0] - picture[..., 2] > 90
    assert yellow[25, 13:36].all()
    assert not yellow[30:70, 18:32].any()
    assert not yellow[:22].any()
    assert thumbnail_uri(tmp_path / "missing.png") is None


def test_outline_of_two_classes_that_touch():
    regions = np.array([[1, 1, 2, 2]] * 3)
    assert outline(regions).astype(int).tolist() == [[0, 0, 1, 0]] * 3


def test_a_label_has_one_colour_in_all_pictures(tmp_path):
    mask = np.zeros((120, 120), np.uint8)
    mask[20:90, 20:90] = 255
    for name, labels in (("a", ("lesion", "vessel")), ("b", ("vessel",))):
        for folder in ("images", *(f"masks/{label}" for label in labels)):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            pixels = np.full((120, 120), 60, np.uint8) if folder == "images" else mask
            Pillow.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    page = tmp_path / "page.html"
    write_data_check_html(check_segmentation(tmp_path), page)
    figures = re.findall(
        r'src="data:image/jpeg;base64,([^"]*)"[^<]*><figcaption>all/(\w)', page.read_text(encoding="utf-8")
    )
    assert {key for _, key in figures} == {"a", "b"}
    for uri, _ in figures:
        corner = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(uri)))).astype(int)[20, 20:90]
        # The vessel's outline, drawn last: the second colour, whether or not there is a lesion.
        assert np.abs(np.median(corner, axis=0) - OUTLINE_COLOURS[1]).max() < 40
