"""How much a command has to compute, from headers."""

import struct
import zlib

import nibabel
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

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


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii", "a.dcm", "missing.png"])
def test_what_is_no_picture_costs_nothing(tmp_path, name):
    (tmp_path / name.replace("missing", "other")).write_text("no picture")
    assert job_of([tmp_path / name]).megapixels == 0
    assert job_of([png(tmp_path / "b.png", 300, 200), tmp_path / name]).megapixels == pytest.approx(0.06)


def test_scans_count_by_their_headers(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 50, 1), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    assert job_of([tmp_path / "a.nii.gz"]).megapixels == pytest.approx(0.002)
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 50, 1, 6), np.int16), np.eye(4)), tmp_path / "many.nii")
    assert job_of([tmp_path / "many.nii"]).megapixels == pytest.approx(0.004)
    # As of any other picture, whatever it is called.
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(tmp_path / "scan"), {}, file_meta=meta, preamble=bytes(128))
    dataset.Rows, dataset.Columns = 60, 70
    dataset.save_as(tmp_path / "scan", enforce_file_format=False)
    assert job_of([tmp_path / "scan"]).megapixels == pytest.approx(0.0042)


def test_no_more_than_32_headers_are_read(tmp_path, monkeypatch):
    file = png(tmp_path / "a.png", 300, 200)
    read = []
    monkeypatch.setattr("scalefuse.workflows.workload._pixels", lambda one: read.append(one) or 6e4)
    for number in (1, 32, 33, 63, 64, 1000):
        read.clear()
        assert job_of([file] * number).megapixels == pytest.approx(number * 0.06)
        assert 0 < len(read) <= 32
