"""Reading: values survive, meanings are right, and every bad file has its one line."""

import gzip
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from scalefuse.data import image_stem, list_images, read_image
from scalefuse.data.masks import read_mask
from scalefuse.data.raster import apply_orientation
from scalefuse.errors import InputError

RNG = np.random.default_rng(7)
SLIDE = "Aperio Image Library v11.2.1 \r\n46000x32914 [0,0 96x64] (32x32) JPEG/RGB Q=30"


def random_pixels(shape, dtype):
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)], ids=["grey", "grey+alpha", "rgb", "rgba"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_integer_values_survive_exactly(tmp_path, dtype, channels, suffix):
    pixels = random_pixels((13, 17, *channels), dtype)
    path = tmp_path / f"image{suffix}"
    if suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        extra = {(2,): 1, (4,): 1}.get(channels, 0)
        photometric = "rgb" if channels in ((3,), (4,)) else "minisblack"
        tifffile.imwrite(path, pixels, photometric=photometric, extrasamples=["unassalpha"] * extra or None,
                         planarconfig="contig" if channels else None)  # fmt: skip
    image = read_image(path)
    expected = {(): pixels, (2,): pixels[..., 0] if channels else pixels}.get(channels, pixels[..., :3])
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.dtype == dtype
    assert image.bits == np.iinfo(dtype).bits
    assert image.is_colour == (channels in ((3,), (4,)))
    assert image.size == (13, 17)
    assert image.unit == "grey level"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint32])
def test_other_tiff_number_types_are_kept(tmp_path, dtype):
    pixels = (RNG.standard_normal((6, 5)) * 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.bits, image.unit, image.pixels.dtype) == (None, "arbitrary", dtype)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_layouts(tmp_path, compression, planar):
    pixels = random_pixels((40, 30, 3), np.uint16)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        rowsperstrip=7,
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)


def test_tiff_white_is_zero_palette_and_cmyk(tmp_path):
    pixels = random_pixels((8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "white.tif", pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif").pixels, 255 - pixels)

    table = random_pixels((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", pixels, photometric="palette", colormap=table)
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.tif").pixels,
        np.asarray(PillowImage.open(tmp_path / "palette.tif").convert("RGB")),
    )

    ink = random_pixels((8, 9, 4), np.uint8)
    tifffile.imwrite(tmp_path / "ink.tif", ink, photometric="separated")
    by_pillow = np.asarray(PillowImage.open(tmp_path / "ink.tif").convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "ink.tif").pixels.astype(int) - by_pillow).max() <= 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg"])
def test_luma_and_chroma_in_tiff_become_rgb(tmp_path, compression):
    pixels = np.repeat(np.repeat(random_pixels((2, 3, 3), np.uint8), 8, axis=0), 8, axis=1)
    PillowImage.fromarray(pixels).convert("YCbCr").save(tmp_path / "a.tif", compression=compression)
    by_pillow = np.asarray(PillowImage.open(tmp_path / "a.tif").convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "a.tif").pixels.astype(int) - by_pillow).max() <= 1
    if compression == "jpeg":
        return
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[530].overwrite((2, 2))
    with pytest.raises(InputError, match=r"a\.tif: luma and chroma .* convert it to RGB"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_greys_of_few_bits_go_from_black_to_white(tmp_path, bits, photometric):
    pixels = random_pixels((8, 9), np.uint8) % 2**bits
    options = {} if bits == 1 else {"bitspersample": bits}
    tifffile.imwrite(
        tmp_path / "a.tif", pixels.astype(bool) if bits == 1 else pixels, photometric=photometric, **options
    )
    found = read_image(tmp_path / "a.tif").pixels
    expected = np.asarray(PillowImage.open(tmp_path / "a.tif").convert("L"))
    np.testing.assert_array_equal(found, expected)
    assert (found.min(), found.max(), found.dtype) == (0, 255, np.uint8)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # OME-XML names columns X and rows Y, and means micrometres where it says nothing.
        ({"metadata": {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, (0.0005, 0.00025)),
        (
            {"metadata": {"axes": "YX", "PhysicalSizeX": 3, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 2}},
            (0.002, 0.000003),
        ),
        ({"metadata": {"axes": "YX", "PhysicalSizeX": 0.25}}, None),
        (
            {
                "metadata": {
                    "axes": "YX",
                    "PhysicalSizeX": 2,
                    "PhysicalSizeXUnit": "pixel",
                    "PhysicalSizeY": 2,
                }
            },
            None,
        ),
        # ImageJ counts pixels per unit, across first.
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (0.0005, 0.00025)),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "\\u00B5m"}}, (0.0005, 0.00025)),
        ({"imagej": True, "resolution": (0.5, 0.25), "metadata": {"unit": "mm"}}, (4.0, 2.0)),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True, "resolution": (4, 2)}, None),
        # What ImageJ makes of a scan's dots an inch.
        ({"imagej": True, "resolution": (300, 300), "metadata": {"unit": "inch"}}, None),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um", "yunit": "sec"}}, None),
        ({"metadata": None, "description": f"{SLIDE}|AppMag = 40|MPP = 0.25|Left = 3"}, (0.00025, 0.00025)),
        ({"metadata": None, "description": f"{SLIDE}|MPP = none"}, None),
        ({"metadata": None, "description": "Another scanner|MPP = 0.25"}, None),
        # 72 dots an inch are those of a print.
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
    ],
)
def test_the_size_of_a_tiff_pixel(tmp_path, options, expected):
    path = tmp_path / ("a.ome.tif" if "axes" in (options.get("metadata") or {}) else "a.tif")
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8), **options)
    geometry = read_image(path).geometry
    assert (geometry and geometry.spacing_mm) == (expected and pytest.approx(expected))


def test_a_slide_with_its_thumbnail_is_one_picture(tmp_path):
    slide = np.arange(64 * 96, dtype=np.uint8).reshape(64, 96)
    with tifffile.TiffWriter(tmp_path / "slide.svs") as file:
        file.write(slide, tile=(32, 32), description=f"{SLIDE}|MPP = 0.5", metadata=None)
        file.write(slide[::4, ::4], description=SLIDE, metadata=None)
        file.write(slide[:9, :7], description=f"{SLIDE} label 7x9", metadata=None)
    image = read_image(tmp_path / "slide.svs")
    np.testing.assert_array_equal(image.pixels, slide)
    assert image.geometry.spacing_mm == pytest.approx((0.0005, 0.0005))


@pytest.mark.parametrize("number_type", [3, 4, 11])  # 16 bits, 32 bits, real
def test_odd_resolution_tags_cost_no_pixels(tmp_path, number_type):
    pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)
    for name, told in (("plain", None), ("imagej", "ImageJ=1.53\nunit=um\n")):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels, description=told, metadata=None, resolution=(4, 2))
        with tifffile.TiffFile(path, mode="r+b") as file:
            tags = [file.pages[0].tags[code].offset for code in (282, 283)]
            order = file.byteorder
        with path.open("r+b") as file:
            for offset in tags:
                file.seek(offset + 2)
                file.write(struct.pack(f"{order}HI", number_type, 1))
        image = read_image(path)
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.geometry is None


def test_the_size_of_a_turned_tiff_pixel(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((20, 30), np.uint8),
        resolution=(4, 2),
        description="ImageJ=1.53\nunit=um\n",
        metadata=None,
        extratags=[(274, 3, 1, 6, True)],
    )
    image = read_image(tmp_path / "a.tif")
    assert image.size == (30, 20)
    assert image.geometry.spacing_mm == pytest.approx((0.00025, 0.0005))


def test_big_endian_bigtiff_and_reduced_copy(tmp_path):
    pixels = random_pixels((32, 32), np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True, byteorder=">") as writer:
        writer.write(pixels)
        writer.write(pixels[::2, ::2], subfiletype=1)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype.isnative


def test_jpeg_and_bmp_as_pillow_reads_them(tmp_path):
    colour = random_pixels((16, 24, 3), np.uint8)
    for name in ("colour.jpg", "colour.bmp"):
        PillowImage.fromarray(colour).save(tmp_path / name)
        np.testing.assert_array_equal(
            read_image(tmp_path / name).pixels, np.asarray(PillowImage.open(tmp_path / name))
        )
    PillowImage.fromarray(colour[..., 0]).save(tmp_path / "grey.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.bmp").pixels, colour[..., 0])
    assert read_image(tmp_path / "colour.jpg").kind == "jpeg"


def test_gif_and_webp(tmp_path):
    colour, grey = random_pixels((16, 24, 3), np.uint8), random_pixels((16, 24), np.uint8)
    PillowImage.fromarray(colour).save(tmp_path / "colour.webp", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "colour.webp").pixels, colour)
    PillowImage.fromarray(grey).save(tmp_path / "grey.gif")
    image = read_image(tmp_path / "grey.gif")
    assert image.kind == "gif"
    np.testing.assert_array_equal(image.pixels, grey)
    few = PillowImage.fromarray(colour // 128 * 128)
    few.convert("P", palette=PillowImage.Palette.ADAPTIVE).save(tmp_path / "colour.gif")
    np.testing.assert_array_equal(read_image(tmp_path / "colour.gif").pixels, np.asarray(few))
    # A mask as GIF, as public sets of vessels have them.
    PillowImage.fromarray((grey > 99).astype(np.uint8) * 255).save(tmp_path / "mask.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.gif"), grey > 99)
    assert [file.name for file in list_images(tmp_path)] == [
        "colour.gif", "colour.webp", "grey.gif", "mask.gif",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_films_are_refused(tmp_path, suffix):
    frames = [PillowImage.new("L", (40, 40), value) for value in (0, 255, 9)]
    frames[0].save(tmp_path / f"film{suffix}", save_all=True, append_images=frames[1:])
    refused(tmp_path / f"film{suffix}", "holds 3 pictures one after another", "split")


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    PillowImage.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "ink.jpg", quality=95)
    pixels = read_image(tmp_path / "ink.jpg").pixels
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - [200, 40, 90]).max() <= 4


def test_palette_and_low_bit_png(tmp_path):
    colour = random_pixels((16, 16, 3), np.uint8)
    palette = PillowImage.fromarray(colour).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=3)
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png").pixels, np.asarray(palette.convert("RGB"))
    )

    mask = RNG.random((9, 9)) > 0.5
    PillowImage.fromarray(mask).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").pixels, mask * np.uint8(255))


@pytest.mark.parametrize(("orientation", "expected"), [(3, (0.0005, 0.00025)), (5, (0.00025, 0.0005))])
def test_a_turned_tiff_has_a_turned_pixel(tmp_path, orientation, expected):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((20, 30), np.uint8),
        imagej=True,
        resolution=(4, 2),
        metadata={"unit": "um"},
        extratags=[(274, 3, 1, orientation, True)],
    )
    image = read_image(tmp_path / "a.tif")
    assert image.size == ((20, 30) if orientation < 5 else (30, 20))
    assert image.geometry.spacing_mm == pytest.approx(expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    from PIL import ImageOps

    # Flat blocks of 8 pixels survive JPEG nearly unchanged.
    grey = np.kron(np.array([[0, 60, 120], [180, 220, 255]], np.uint8), np.ones((8, 8), np.uint8))
    path = tmp_path / f"turned{suffix}"
    if suffix == ".tif":
        # Compressed, since Pillow mixes up height and width of turned TIFF files that it maps into memory.
        tifffile.imwrite(path, grey, compression="zlib", extratags=[(274, 3, 1, orientation, True)])
    else:
        exif = PillowImage.Exif()
        exif[0x0112] = orientation
        PillowImage.fromarray(grey).save(path, exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    by_pillow = PillowImage.open(path)
    by_pillow.load()  # Pillow turns TIFF while loading.
    expected = np.asarray(ImageOps.exif_transpose(by_pillow))
    np.testing.assert_array_equal(read_image(path).pixels, expected)


def test_orientation_of_16_bit_png(tmp_path):
    pixels = random_pixels((4, 6), np.uint16)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, np.rot90(pixels, -1))


def test_unknown_orientation_counts_as_upright():
    pixels = random_pixels((2, 3), np.uint8)
    np.testing.assert_array_equal(apply_orientation(pixels, 99), pixels)


def test_one_pixel_and_constant_images_can_be_read(tmp_path):
    PillowImage.new("L", (1, 1), 9).save(tmp_path / "one.png")
    assert read_image(tmp_path / "one.png").pixels.tolist() == [[9]]
    PillowImage.new("L", (5, 5), 9).save(tmp_path / "flat.png")
    assert np.ptp(read_image(tmp_path / "flat.png").pixels) == 0


def test_the_content_decides_and_not_the_suffix(tmp_path):
    PillowImage.new("L", (3, 3), 9).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").kind == "png"


def refused(path, *words):
    """Read a bad file; the message must be one line, name the file, and hold the words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    for word in words:
        assert word in message
    return message


def test_missing_folder_empty_and_foreign_files(tmp_path):
    refused(tmp_path / "missing.png", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty (0 bytes)")
    for name in ("text.png", "text.jpg", "text.tif", "text"):
        (tmp_path / name).write_text("this is a text and no image" * 20)
        refused(tmp_path / name, "not an image of a known format")


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "a16.png",
        "a.jpg",
        "a.bmp",
        "a.tif",
        "lzw.tif",
        "jpeg.tif",
        "a.nii",
        "a.nii.gz",
        "a.gif",
        "a.webp",
    ],
)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path, name, part):
    import nibabel

    path = tmp_path / name
    pixels = random_pixels((64, 64, 3), np.uint8)
    if name == "a16.png":
        path.write_bytes(imagecodecs.png_encode(random_pixels((64, 64, 3), np.uint16)))
    elif name.endswith(".tif"):
        compression = {"a.tif": None, "lzw.tif": "lzw", "jpeg.tif": "jpeg"}[name]
        tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, rowsperstrip=16)
    elif ".nii" in name:
        nibabel.save(nibabel.Nifti1Image(pixels[..., 0], np.eye(4)), path)
    else:
        PillowImage.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(path, "damaged or truncated")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_a_few_missing_bytes_are_noticed(tmp_path, name):
    path = tmp_path / name
    PillowImage.fromarray(random_pixels((64, 64, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    refused(path, "damaged or truncated")


def test_png_without_its_end_and_with_flipped_bits(tmp_path):
    path = tmp_path / "a.png"
    good = imagecodecs.png_encode(random_pixels((32, 32), np.uint16))
    path.write_bytes(good[:-12])
    refused(path, "its end is missing")
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 0xFF
    path.write_bytes(bytes(bad))
    refused(path, "damaged or truncated PNG")


def png_with_size(width, height, depth=8):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("depth", [8, 16])
def test_png_bomb(tmp_path, depth):
    (tmp_path / "bomb.png").write_bytes(png_with_size(70_000, 70_000, depth))
    refused(tmp_path / "bomb.png", "70000×70000", str(2**28))


def test_bombs_of_other_formats(tmp_path):
    import nibabel

    PillowImage.new("L", (8, 8)).save(tmp_path / "bomb.jpg")
    data = bytearray((tmp_path / "bomb.jpg").read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    (tmp_path / "bomb.jpg").write_bytes(bytes(data))

    PillowImage.new("L", (8, 8)).save(tmp_path / "bomb.bmp")
    data = bytearray((tmp_path / "bomb.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", 65000, 65000)
    (tmp_path / "bomb.bmp").write_bytes(bytes(data))

    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((8, 8), np.uint8))
    with tifffile.TiffFile(tmp_path / "bomb.tif", mode="r+b") as file:
        file.pages[0].tags["ImageWidth"].overwrite(65000)
        file.pages[0].tags["ImageLength"].overwrite(65000)

    nibabel.save(nibabel.Nifti2Image(np.zeros((8, 8), np.uint8), np.eye(4)), tmp_path / "bomb.nii")
    data = bytearray((tmp_path / "bomb.nii").read_bytes())
    data[16:40] = struct.pack("<qqq", 2, 65000, 65000)
    with gzip.open(tmp_path / "bomb.nii.gz", "wb") as file:
        file.write(bytes(data))

    PillowImage.new("L", (8, 8)).save(tmp_path / "bomb.gif")
    data = bytearray((tmp_path / "bomb.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 65000, 65000)
    (tmp_path / "bomb.gif").write_bytes(bytes(data))

    for lossless, place, packed in ((True, 21, 0x3FFF | 0x3FFF << 14), (False, 26, 0x3FFF | 0x3FFF << 16)):
        name = tmp_path / f"bomb{lossless}.webp"
        PillowImage.new("RGB", (8, 8)).save(name, lossless=lossless)
        data = bytearray(name.read_bytes())
        data[place : place + 4] = struct.pack("<I", packed)
        name.write_bytes(bytes(data))
        refused(name, f"{16383 + lossless}×{16383 + lossless}", "are read from WebP" if not lossless else "")
    for name in ("bomb.jpg", "bomb.bmp", "bomb.tif", "bomb.nii.gz", "bomb.gif"):
        refused(tmp_path / name, "65000×65000", "allowed")


def test_several_pages_and_odd_colours(tmp_path):
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((4, 8, 8), np.uint8), photometric="minisblack")
    refused(tmp_path / "pages.tif", "4 pages", "split")
    two = np.dstack([np.zeros((8, 8), np.uint8), np.full((8, 8), 9, np.uint8)])
    for photometric in ("minisblack", "miniswhite"):
        tifffile.imwrite(tmp_path / "two.tif", two, photometric=photometric, planarconfig="contig")
        refused(tmp_path / "two.tif", "2 channels, neither of them marked as transparency", "split")
    tifffile.imwrite(tmp_path / "lab.tif", np.zeros((8, 8, 3), np.uint8), photometric="cielab")
    refused(tmp_path / "lab.tif", "CIELAB")
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((8, 8), np.complex64))
    refused(tmp_path / "complex.tif", "complex64")
    frames = [PillowImage.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "film.png", "animated")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    pixels = np.zeros((4, 4), np.float32)
    pixels[1, 2] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    refused(tmp_path / "a.tif", "1 of 16 pixel values are NaN or infinite")


def test_damaged_headers_never_escape_as_other_errors(tmp_path):
    """Random damage gives a picture or an InputError, nothing else."""
    generator = np.random.default_rng(3)
    path = tmp_path / "fuzz.png"
    sources = []
    for suffix in ("png", "jpg", "bmp", "tif"):
        PillowImage.fromarray(random_pixels((9, 9, 3), np.uint8)).save(tmp_path / f"a.{suffix}")
        sources.append((tmp_path / f"a.{suffix}").read_bytes())
    refusals = 0
    for data in sources:
        for _ in range(60):
            damaged = bytearray(data)
            for position in generator.integers(4, len(data), 4):
                damaged[position] = generator.integers(256)
            path.write_bytes(bytes(damaged))
            try:
                read_image(path)
            except InputError:
                refusals += 1
    assert refusals > 60


def test_too_little_memory_is_named(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise MemoryError

    PillowImage.new("L", (3, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr("scalefuse.data.raster.apply_orientation", refuse)
    refused(tmp_path / "a.png", "not enough memory")


def test_stems():
    assert image_stem("x/case.nii.gz") == "case"
    assert image_stem(Path("case.NII")) == "case"
    assert image_stem("case.01.tiff") == "case.01"
    assert image_stem("1.2.840.113619.2") == "1.2.840.113619.2"
    assert image_stem("IM0001") == "IM0001"
    assert image_stem(".png") == ".png"


def test_listing_is_natural_and_skips_the_hidden(tmp_path):
    for name in ("s10.png", "s9.PNG", "s1.nii.gz", ".s2.png", "readme.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "s3.png").mkdir()
    (tmp_path / "1.2.3").write_bytes(bytes(128) + b"DICM")
    assert [path.name for path in list_images(tmp_path)] == ["1.2.3", "s1.nii.gz", "s9.PNG", "s10.png"]
    with pytest.raises(InputError, match="no such folder"):
        list_images(tmp_path / "missing")
    with pytest.raises(InputError, match="is a file"):
        list_images(tmp_path / "s9.PNG")


def test_the_package_loads_no_format_library():
    heavy = "pydicom nibabel tifffile scipy torch imagecodecs PIL skimage matplotlib"
    code = f"import sys, scalefuse.data; print([m for m in {heavy.split()!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_palette_of_eight_bits(tmp_path):
    """Some programs write entries up to 255 where the standard has them up to 65535."""
    pixels = np.array([[0, 1, 2, 3]], np.uint8)
    table = np.zeros((3, 256), np.uint16)
    table[:, :4] = [[0, 50, 100, 255], [9, 8, 7, 6], [255, 0, 255, 0]]
    tifffile.imwrite(tmp_path / "p.tif", pixels, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif").pixels, table[:, pixels].transpose(1, 2, 0))
