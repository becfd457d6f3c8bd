"""Masks in the ways in which files hold them."""

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from pydantic import ValidationError

from scalefuse.data.masks import MaskClasses, decode_mask, read_case_mask, read_mask
from scalefuse.data.read import read_image
from scalefuse.data.segmentation import SegmentationCase
from scalefuse.errors import InputError

DISC = (np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 20).astype(np.uint8)
COLOURS = MaskClasses(names=("ground", "red", "blue"), colours=((0, 0, 0), (255, 0, 0), (0, 0, 255)))


def save(path, array, **options):
    Pillow.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("top", [1, 255])
def test_binary_png(tmp_path, top):
    mask = read_mask(save(tmp_path / "m.png", DISC * np.uint8(top)))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, DISC)


def test_binary_of_other_kinds(tmp_path):
    save(tmp_path / "one_bit.png", DISC.astype(bool))
    save(tmp_path / "rgb.png", np.repeat(DISC[..., None] * np.uint8(255), 3, axis=2))
    tifffile.imwrite(tmp_path / "float.tif", DISC.astype(np.float32))
    tifffile.imwrite(tmp_path / "wide.tif", DISC.astype(np.uint16) * 65535)
    for file in tmp_path.iterdir():
        np.testing.assert_array_equal(read_mask(file), DISC, err_msg=file.name)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_rings_are_thresholded(tmp_path, mode):
    Pillow.fromarray(DISC * np.uint8(255)).convert(mode).save(tmp_path / "m.jpg", quality=75)
    assert len(np.unique(read_image(tmp_path / "m.jpg").pixels)) > 2
    np.testing.assert_array_equal(read_mask(tmp_path / "m.jpg"), DISC)


@pytest.mark.parametrize("classes", [1, 3])
def test_classes_with_a_rim_of_255_are_not_taken_for_rings(tmp_path, classes):
    values = np.zeros((40, 60), np.uint8)
    for number in range(1, classes + 1):
        part = slice(15 * number - 10, 15 * number)
        values[8:20, part] = 255
        values[10:18, part.start + 2 : part.stop - 2] = number
    save(tmp_path / "mask.png", values)
    with pytest.raises(InputError, match="name its classes"):
        read_mask(tmp_path / "mask.png")
    named = MaskClasses(names=("background", *(f"class {number}" for number in range(1, classes + 1))))
    with pytest.raises(InputError, match="255"):
        read_mask(tmp_path / "mask.png", named)


def test_jpeg_that_was_saved_again_as_png(tmp_path):
    save(tmp_path / "m.jpg", DISC * np.uint8(255), quality=75)
    again = save(tmp_path / "again.png", read_image(tmp_path / "m.jpg").pixels)
    np.testing.assert_array_equal(read_mask(again), DISC)


def test_empty_jpeg_stays_empty():
    rings = np.random.default_rng(0).integers(0, 5, (8, 8)).astype(np.uint8)
    from scalefuse.data import Image

    assert decode_mask(Image(rings, kind="jpeg")).max() == 0
    with pytest.raises(InputError, match=r"the values 0, 1, 2, 3, 4; name its classes"):
        decode_mask(Image(rings, kind="png"))


def test_class_indices_and_values(tmp_path):
    three = DISC + DISC * (np.arange(64) > 31).astype(np.uint8)
    file = save(tmp_path / "m.png", three)
    names = ("ground", "left", "right")
    np.testing.assert_array_equal(read_mask(file, MaskClasses(names=names)), three)
    file = save(tmp_path / "v.png", three * np.uint8(100))
    np.testing.assert_array_equal(read_mask(file, MaskClasses(names=names, values=(0, 100, 200))), three)
    with pytest.raises(
        InputError, match=r"v\.png: the mask holds the values 100, 200, but .* 0 \(ground\), 1"
    ):
        read_mask(file, MaskClasses(names=names))
    with pytest.raises(InputError, match=r"the values 0, 100, 200; name its classes"):
        read_mask(file)


def test_more_than_256_classes(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 300]], np.uint16))
    mask = read_mask(tmp_path / "m.tif", MaskClasses(names=tuple(f"c{n}" for n in range(301))))
    assert mask.dtype == np.uint16
    assert mask.tolist() == [[0, 300]]


def test_colour_map(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:, 2:4, 0], rgb[:, 4:, 2] = 255, 255
    expected = np.repeat([[0, 0, 1, 1, 2, 2]], 4, axis=0)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", rgb), COLOURS), expected)
    # A mask of one class may have been saved as grey.
    assert read_mask(save(tmp_path / "black.png", np.zeros((2, 2), np.uint8)), COLOURS).max() == 0
    with pytest.raises(InputError, match="coloured; name the colour"):
        read_mask(tmp_path / "m.png")
    rgb[0, 0] = (1, 2, 3)
    with pytest.raises(InputError, match=r"bad\.png: the mask holds the colour \(1, 2, 3\)"):
        read_mask(save(tmp_path / "bad.png", rgb), COLOURS)


def test_palette_indices_count_unless_colours_are_named(tmp_path):
    picture = Pillow.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", MaskClasses(names=("a", "b", "c"))).tolist() == [[0, 1, 2]]
    turned = MaskClasses(names=COLOURS.names, colours=COLOURS.colours[::-1])
    assert read_mask(tmp_path / "m.png", turned).tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.8, 1.0])
@pytest.mark.parametrize("method", [0, 2])
def test_black_and_white_with_a_palette_is_what_is_seen(tmp_path, share, method):
    drawn = np.zeros((40, 40), np.uint8)
    drawn[: round(40 * share)] = 255
    picture = Pillow.fromarray(np.stack([drawn] * 3, axis=-1)).quantize(2, method=method)
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), drawn > 0)
    named = MaskClasses(names=("background", "cyst"), values=(0, 255))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", named), drawn > 0)


def test_grey_palettes(tmp_path):
    def saved(greys):
        picture = Pillow.fromarray(np.array([[0, 1, 2, 2]], np.uint8), mode="P")
        picture.putpalette([value for grey in greys for value in (grey,) * 3])
        picture.save(tmp_path / "m.png")
        return tmp_path / "m.png"

    three = MaskClasses(names=("a", "b", "c"))
    assert read_mask(saved((0, 255, 128)), three).tolist() == [[0, 1, 2, 2]]  # no such greys: the index
    assert read_mask(saved((2, 0, 1)), three).tolist() == [[2, 0, 1, 1]]  # as of Pillow's quantize
    valued = MaskClasses(names=("a", "b", "c"), values=(0, 128, 255))
    assert read_mask(saved((255, 0, 128)), valued).tolist() == [[2, 0, 1, 1]]
    white_first = Pillow.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    white_first.save(tmp_path / "m.png")
    with pytest.raises(InputError, match="holds the value 255, but the configuration names only 0"):
        read_mask(tmp_path / "m.png", MaskClasses(names=("a", "b")))


@pytest.mark.parametrize("photometric", [None, "minisblack", "miniswhite"])
def test_boolean_arrays_that_tifffile_wrote_are_what_they_hold(tmp_path, photometric):
    drawn = np.zeros((40, 40), bool)
    drawn[:4] = True
    tifffile.imwrite(tmp_path / "m.tif", drawn, photometric=photometric)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), drawn)
    # Other programs mean by "white is zero" what it says.
    tifffile.imwrite(tmp_path / "m.tif", drawn, photometric="miniswhite", software="scanner")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), ~drawn)


def test_palette_indices_are_turned_as_the_picture_is(tmp_path):
    indices = np.zeros((20, 30), np.uint8)
    indices[2:5, 3:10] = 1
    picture = Pillow.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "m.png", exif=exif)
    found = read_mask(tmp_path / "m.png", MaskClasses(names=("a", "b")))
    np.testing.assert_array_equal(found, np.rot90(indices, -1))
    np.testing.assert_array_equal(found > 0, read_image(tmp_path / "m.png").pixels[..., 0] > 0)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_of_few_bits(tmp_path, bits, suffix):
    """As numbers, though such pictures go from black to white."""

    def write(name, pixels):
        if suffix == ".png":
            Pillow.fromarray(pixels).save(tmp_path / (name + suffix), bits=bits)
        else:
            tifffile.imwrite(tmp_path / (name + suffix), pixels, bitspersample=bits, photometric=1)
        return tmp_path / (name + suffix)

    indices, top = np.array([[0, 1, 2], [2, 1, 0]], np.uint8), 2**bits - 1
    three = MaskClasses(names=("a", "b", "c"))
    np.testing.assert_array_equal(read_mask(write("indices", indices), three), indices)
    for value in (1, top):
        file = write(f"binary{value}", (indices > 0) * np.uint8(value))
        np.testing.assert_array_equal(read_mask(file), indices > 0)
    # Values may also be named as a viewer shows them.
    shown = MaskClasses(names=("a", "b"), values=(0, 255))
    file = write("shown", (indices > 0) * np.uint8(top))
    np.testing.assert_array_equal(read_mask(file, shown), indices > 0)


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.array([[0.0, 0.4]], np.float32), "fractions"), (np.array([[-1, 1]], np.int16), "from -1 to 1")],
)
def test_values_that_no_mask_has(tmp_path, array, message):
    tifffile.imwrite(tmp_path / "m.tif", array)
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.tif")


def test_grey_picture_is_no_mask(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    with pytest.raises(InputError, match="a binary mask has the values"):
        read_mask(save(tmp_path / "ramp.png", ramp))
    with pytest.raises(InputError, match="a binary mask has the values"):
        read_mask(save(tmp_path / "ramp.jpg", ramp))


def test_labels_of_one_pixel(tmp_path):
    save(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    save(tmp_path / "b.png", np.array([[255, 255]], np.uint8))
    case = SegmentationCase(
        "x", tmp_path / "x.png", label_masks=(("a", tmp_path / "a.png"), ("b", tmp_path / "b.png"))
    )
    classes = MaskClasses(names=("b", "c", "a"), multi_label=True)
    assert read_case_mask(case, classes).tolist() == [[[1, 1]], [[0, 0]], [[0, 1]]]
    with pytest.raises(InputError, match="holds the label 'a', but the configuration names b"):
        read_case_mask(case, MaskClasses(names=("b",), multi_label=True))
    with pytest.raises(InputError, match="need classes that are multi-label"):
        read_case_mask(case)
    with pytest.raises(InputError, match="has no mask"):
        read_case_mask(SegmentationCase("x", tmp_path / "x.png"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ("only",)},
        {"names": ("a", "a")},
        {"names": ("a", "CIN2/3")},  # masks are written into files of that name
        {"names": ("a", "b"), "values": (0, 1, 2)},
        {"names": ("a", "b"), "values": (3, 3)},
        {"names": ("a", "b"), "values": (0, 70000)},
        {"names": ("a", "b"), "colours": ((0, 0, 0), (0, 0, 300))},
        {"names": ("a", "b"), "values": (0, 1), "colours": ((0, 0, 0), (0, 0, 1))},
        {"names": ("a", "b"), "values": (0, 1), "multi_label": True},
    ],
)
def test_classes_that_contradict_themselves(wrong):
    with pytest.raises(ValueError):
        MaskClasses(**wrong)


def discs(number=60, side=128):
    """Crowded small discs, 0 and 255."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    picture = np.zeros((side, side), np.uint8)
    for y, x in rng.uniform(0, side, (number, 2)):
        picture[(rows - y) ** 2 + (columns - x) ** 2 < 16] = 255
    return picture


def test_crowded_soft_edges_are_thresholded(tmp_path):
    hard = discs()
    soft = np.asarray(Pillow.fromarray(hard).resize((96, 96), Pillow.Resampling.BICUBIC))
    # More lies between than what rings leave.
    assert ((soft > 32) & (soft < 223)).mean() > 0.05
    save(tmp_path / "soft.png", soft)
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.png"), soft > 127)


def test_one_level_on_edges_is_no_class(tmp_path):
    picture = np.zeros((256, 256), np.uint8)
    picture[33:201, 40:100] = 255
    soft = np.asarray(Pillow.fromarray(picture).resize((128, 128), Pillow.Resampling.BOX))
    assert set(np.unique(soft)) == {0, 128, 255}
    save(tmp_path / "soft.png", soft)
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.png"), soft > 127)


@pytest.mark.parametrize("levels", [(128,), (80, 160), (50, 100, 150, 200)])
def test_small_areas_of_a_value_of_their_own_are_classes(tmp_path, levels):
    picture = discs(8)
    for number, level in enumerate(levels):
        picture[4 + 20 * number : 14 + 20 * number, 4:14] = level
    assert ((picture > 32) & (picture < 223)).mean() < 0.05
    save(tmp_path / "classes.png", picture)
    with pytest.raises(InputError, match="name its classes"):
        read_mask(tmp_path / "classes.png")
    values = (0, *levels, 255)
    names = tuple("abcdefg"[: len(values)])
    found = read_mask(tmp_path / "classes.png", MaskClasses(names=names, values=values))
    np.testing.assert_array_equal(np.array(values)[found], picture)


@pytest.mark.parametrize(
    "given",
    [
        "background=#000000, nucleus=#ff8001",
        {"names": ["background", "nucleus"], "colours": ["#000000", "#FF8001"]},
        {"names": ["background", "nucleus"], "colours": [[0, 0, 0], "#ff8001"]},
    ],
)
def test_colours_of_a_configuration_may_be_written_as_on_the_command_line(given):
    assert MaskClasses.model_validate(given) == MaskClasses(
        names=("background", "nucleus"), colours=((0, 0, 0), (255, 128, 1))
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("background=0,nucleus", "a value is missing"),
        ("background,background", "must differ"),
        ("background,mean of classes", "take another name"),
        ({"names": ["a", "b"], "colours": ["#000000", "red"]}, "such as #ff8000, but got 'red'"),
        ({"names": ["a", "b"], "colours": "#000000"}, "tuple"),
    ],
)
def test_classes_that_cannot_be_read(given, message):
    with pytest.raises(ValidationError, match=message):
        MaskClasses.model_validate(given)


def test_webp_masks_are_read_by_what_the_file_says_of_losses(tmp_path):
    """Rings are forgiven where the format makes them; elsewhere low values are classes."""
    drawn = np.zeros((32, 32), np.uint8)
    drawn[8:24, 8:24] = 1
    for top in (1, 255):
        Pillow.fromarray(drawn * np.uint8(top)).save(tmp_path / "mask.webp", lossless=True)
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.webp"), drawn)
    Pillow.fromarray(drawn * np.uint8(2)).save(tmp_path / "mask.webp", lossless=True)
    with pytest.raises(InputError, match="has the values 0, 2"):
        read_mask(tmp_path / "mask.webp")
    Pillow.fromarray(drawn * np.uint8(255)).save(tmp_path / "mask.webp", quality=40)
    assert read_image(tmp_path / "mask.webp").is_lossy
    assert (read_mask(tmp_path / "mask.webp") == drawn).mean() > 0.97
    Pillow.fromarray(drawn * np.uint8(100)).save(tmp_path / "mask.webp", quality=10)
    with pytest.raises(InputError, match="lossy WebP alters values"):
        read_mask(tmp_path / "mask.webp", MaskClasses(names=("a", "b"), values=(0, 100)))
