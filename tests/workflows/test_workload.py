"""How much a command has to compute, from headers."""

import struct
import zlib

import pytest

from scalefuse.workflows.workload import job_of


def png(file, height, width):
    """The header of a grey PNG: its pixels are not needed."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    end = b"IEND"
    idat = b"IDAT" + zlib.compress(b"")
    content += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    content += struct.pack(">I", 0) + end + struct.pack(">I", zlib.crc32(end))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return file


def test_pixels_are_those_of_the_header(tmp_path):
    job = job_of([png(tmp_path / "a.png", 300, 200), png(tmp_path / "b.png", 100, 200)])
    assert (job.pictures, job.megapixels) == (2, pytest.approx(0.08))


def test_pictures_above_pillows_limit_are_large_not_usual(tmp_path):
    job = job_of([png(tmp_path / "a.png", 15000, 15000)] * 4)
    assert job.megapixels / job.pictures > 170


def test_what_is_no_picture_counts_as_a_usual_one(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    assert job_of([tmp_path / "a.png"]).megapixels == pytest.approx(0.512**2)
