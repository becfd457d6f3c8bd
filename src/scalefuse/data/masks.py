"""Masks: from the many ways in which files hold them to class indices."""

import re
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError, field_validator, model_validator

from scalefuse.data.image import Image
from scalefuse.data.read import read_image
from scalefuse.data.segmentation import SegmentationCase
from scalefuse.data.soft_edges import RING_TOLERANCE, has_soft_edges
from scalefuse.data.stored_numbers import StoredGreys, palette_indices, stored_greys
from scalefuse.errors import InputError
from scalefuse.schema import Schema

MEAN_OF_CLASSES = "mean of classes"
"""What summaries call the mean over several classes; no class can have this name."""


class MaskClasses(Schema):
    """What the values of a mask mean. Without one, masks are binary: 0/1 or 0/255.

    A configuration may also hold the short form of the command line, ``background=0,nucleus=255``.

    Attributes:
        names: the classes in the order of their indices, background first; or the labels, if multi-label.
        values: the grey value of each class in the files; by default its index.
        colours: the RGB colour of each class in the files, as three numbers from 0 to 255 or as ``#RRGGBB``,
            instead of ``values``.
        multi_label: whether a pixel may carry several labels. Then every label has its own folder of binary
            masks, ``masks/LABEL/``, and there is no background class.

    Example:
        >>> MaskClasses(names=("background", "nucleus", "border")).num_logits
        3
        >>> MaskClasses(names=("background", "polyp"), colours=((0, 0, 0), (255, 0, 0))).num_logits
        1
    """

    names: tuple[str, ...]
    values: tuple[int, ...] | None = None
    colours: tuple[tuple[int, int, int], ...] | None = None
    multi_label: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return cls.parse(given).model_dump()
        except InputError as error:
            raise ValueError(str(error).rstrip(".")) from error

    @field_validator("colours", mode="before")
    @classmethod
    def _from_hexadecimal(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        return tuple(_rgb(one) if isinstance(one, str) else one for one in given)

    @model_validator(mode="after")
    def _check(self) -> Self:
        fewest = 1 if self.multi_label else 2
        if len(self.names) < fewest:
            raise ValueError(f"at least {fewest} names are needed, got {len(self.names)}")
        if len(set(self.names)) < len(self.names):
            raise ValueError("the names must differ from one another")
        if MEAN_OF_CLASSES in self.names:
            raise ValueError(f"summaries call something else {MEAN_OF_CLASSES!r}; take another name")
        for name in self.names:
            if re.search(r"[/\\\x00-\x1f]", name):
                raise ValueError(
                    f"files are named by the classes, so that {name!r} cannot hold '/', '\\' or a control "
                    "character; write another sign, such as '-'"
                )
        if self.values is not None and self.colours is not None:
            raise ValueError("give values or colours, not both")
        if self.multi_label and (self.values is not None or self.colours is not None):
            raise ValueError("multi-label masks are binary, one folder per label, without values or colours")
        for what, given in (("values", self.values), ("colours", self.colours)):
            if given is not None and len(given) != len(self.names):
                raise ValueError(f"{len(given)} {what} for {len(self.names)} names; give one for each")
            if given is not None and len(set(given)) < len(given):
                raise ValueError(f"the {what} must differ from one another")
        if self.values is not None and not all(0 <= value <= 65535 for value in self.values):
            raise ValueError("values must lie between 0 and 65535")
        if self.colours is not None and not all(0 <= v <= 255 for colour in self.colours for v in colour):
            raise ValueError("colours must lie between 0 and 255")
        return self

    @classmethod
    def parse(cls, text: str, *, multi_label: bool = False) -> "MaskClasses":
        """Read classes from the form that they have on the command line.

        Args:
            text: names separated by commas, background first; each perhaps with ``=`` and its grey value, or
                its colour as ``#RRGGBB``.
            multi_label: whether a pixel may carry several labels.

        Raises:
            InputError: values for some names only, or no such values or names.

        Example:
            >>> MaskClasses.parse("background=0,nucleus=255").file_values
            (0, 255)
            >>> MaskClasses.parse("background=#000000, polyp=#ff0000").colours
            ((0, 0, 0), (255, 0, 0))
        """
        parts = [part.partition("=") for part in text.split(",")]
        names = tuple(name.strip() for name, _, _ in parts)
        given = [value.strip() for _, _, value in parts if value.strip()]
        form = f"{text!r}: expected names such as background,nucleus, or background=0,nucleus=255, or "
        form += "background=#000000,polyp=#ff0000"
        if not all(names) or (given and len(given) < len(names)):
            raise InputError(f"{form}, but a name or a value is missing.")
        values = colours = None
        try:
            if given and all(value.startswith("#") for value in given):
                colours = tuple(_rgb(value) for value in given)
            elif given:
                values = tuple(int(value) for value in given)
            return cls(names=names, values=values, colours=colours, multi_label=multi_label)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"{text!r}: {message}.") from error
        except ValueError as error:
            raise InputError(f"{form}, but a value is no number and no colour.") from error

    @property
    def num_logits(self) -> int:
        """Output channels of a network: 1 for background and one class, else one per class or label."""
        return 1 if not self.multi_label and len(self.names) == 2 else len(self.names)

    @property
    def file_values(self) -> tuple[int, ...]:
        """The grey value of each class in the files."""
        return self.values if self.values is not None else tuple(range(len(self.names)))


BINARY = MaskClasses(names=("background", "foreground"))
"""The names under which binary masks are reported."""


def read_mask(path: Path | str, classes: MaskClasses | None = None) -> NDArray[Any]:
    """Read a mask as class indices.

    Without ``classes`` the mask is binary: 0/1, 0/255 or 0/65535. Masks that went through JPEG or a smooth
    resizing have values near 0 and 255 and some between; they are thresholded at half (the data check reports
    them). With ``classes``, only the values or colours named there may occur. In PNG files with a palette of
    colours the index counts, unless colours are named. Where the palette is grey, its greys count if a mask
    may hold them, since programs that save masks with a palette order it as they like, and else the index.
    A Boolean array that tifffile wrote is what it holds, though a picture of it is its negative.

    Args:
        path: a file of any format of :func:`scalefuse.data.read.read_image`.
        classes: what the values mean; not multi-label (see :func:`read_case_mask`).

    Returns:
        ``(H, W)`` class indices, uint8, or uint16 for more than 256 classes.

    Raises:
        InputError: unreadable, or values that a binary mask does not have or that ``classes`` does not name.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.write import write_image
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_image(file, np.array([[0.0, 1.0]]), bits=8)
        >>> read_mask(file)
        array([[0, 1]], dtype=uint8)
        >>> read_mask(file, MaskClasses(names=("background", "cyst"), values=(255, 0)))
        array([[1, 0]], dtype=uint8)
    """
    path = Path(path)
    return decode_mask(read_image(path), classes, path=path)


def decode_mask(
    image: Image, classes: MaskClasses | None = None, *, path: Path | None = None
) -> NDArray[Any]:
    """As :func:`read_mask`, for a picture that has been read.

    Args:
        image: the picture.
        classes: what the values mean.
        path: its file, for palettes; by default the picture's source.

    Raises:
        InputError: as :func:`read_mask`.

    Example:
        >>> decode_mask(Image(np.array([[3, 250]], np.uint8), kind="jpeg"))
        array([[0, 1]], dtype=uint8)
    """
    assert classes is None or not classes.multi_label, "multi-label masks are read label by label"
    if classes is not None and classes.colours is not None:
        return _from_colours(image, classes)
    values = _grey_values(image, path or image.source, None if classes is None else classes.file_values)
    top = int(values.max())
    # A file of 1, 2 or 4 bits is read as a picture from black to white, but may hold small numbers.
    step, negated = stored_greys(path or image.source, image.kind) if top % 17 == 0 else StoredGreys()
    if negated:
        values = 255 - values
        top = int(values.max())
    if classes is not None:
        stored = values // step
        if step > 1 and set(np.unique(stored).tolist()) <= set(classes.file_values):
            values = stored
        return _from_values(values, image, classes)
    if top == step > 1:
        values, top = values // step, 1
    foreground: NDArray[np.bool_] = values > top // 2
    if not image.is_lossy and top in (0, 1, 255, 65535) and bool((foreground * top == values).all()):
        return foreground.astype(np.uint8)
    if has_soft_edges(values, lossy=image.is_lossy):
        return (values > 127).astype(np.uint8)
    raise InputError(
        f"{image.label}: a binary mask has the values 0 and 1 or 0 and 255, but this one has "
        f"{_listing(np.unique(values))}; name its classes (such as background=0,nucleus=128), or give "
        "another mask."
    )


def read_case_mask(case: SegmentationCase, classes: MaskClasses | None = None) -> NDArray[Any]:
    """Read what was drawn on the image of a case.

    Args:
        case: a case that has a mask.
        classes: what the masks hold; ``None`` for binary ones.

    Returns:
        ``(H, W)`` class indices as :func:`read_mask`, or for multi-label classes ``(L, H, W)`` uint8 of 0 and
        1 in the order of the names. A label without a file for this image is 0 everywhere.

    Raises:
        InputError: no mask, unreadable, values that are not expected, labels that are not named, or masks of
            different sizes.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.write import write_image
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_image(file, np.array([[0.0, 1.0]]), bits=8)
        >>> case = SegmentationCase("a", Path("a.png"), label_masks=(("cyst", file),))
        >>> read_case_mask(case, MaskClasses(names=("tumour", "cyst"), multi_label=True)).tolist()
        [[[0, 0]], [[0, 1]]]
    """
    multi_label = classes is not None and classes.multi_label
    if not case.has_mask:
        raise InputError(f"{case.image}: has no mask; add a file of the same name to the 'masks' folder.")
    if multi_label != bool(case.label_masks):
        raise InputError(
            f"{case.image}: masks with one folder per label need classes that are multi-label, and other "
            f"masks need classes that are not; here multi_label is {multi_label}, and the masks folder holds "
            f"{_label_folders(case)}."
        )
    if case.mask is not None:
        return read_mask(case.mask, classes)
    assert classes is not None
    unknown = sorted({label for label, _ in case.label_masks} - set(classes.names))
    if unknown:
        raise InputError(
            f"{case.label_masks[0][1].parent.parent}: holds the label {unknown[0]!r}, but the configuration "
            f"names {', '.join(classes.names)}; name it or take the folder away."
        )
    masks = {label: read_mask(file) for label, file in case.label_masks}
    shapes = {mask.shape for mask in masks.values()}
    if len(shapes) > 1:
        raise InputError(f"{case.image}: its label masks have different sizes, {sorted(shapes)}; mend them.")
    empty = np.zeros(shapes.pop(), np.uint8)
    return np.stack([masks.get(name, empty) for name in classes.names])


def _label_folders(case: SegmentationCase) -> str:
    if not case.label_masks:
        return "files"
    names = ", ".join(label for label, _ in case.label_masks)
    return (
        f"folders ({names}); name them with --classes, or for a training in data.classes, with "
        "multi_label: true, and their number in network.num_classes"
    )


def _grey_values(image: Image, path: Path | None, known: tuple[int, ...] | None) -> NDArray[np.int64]:
    pixels = image.pixels
    if pixels.ndim == 3:
        indices = palette_indices(path) if image.kind == "png" and path is not None else None
        same = bool((pixels[..., :1] == pixels[..., 1:]).all())
        if indices is not None and (not same or _index_counts(indices, pixels[..., 0], known)):
            pixels = indices
        elif same:
            pixels = pixels[..., 0]
        elif image.is_lossy and int(np.ptp(pixels.astype(np.int16), axis=2).max()) <= 2 * RING_TOLERANCE:
            # The chroma of a grey picture that was saved in colour with losses is noise.
            pixels = np.rint(pixels.mean(axis=2))
        else:
            raise InputError(
                f"{image.label}: the mask is coloured; name the colour of each class (such as "
                "background=#000000,nucleus=#ff0000)."
            )
    if pixels.dtype.kind == "f" and not bool((pixels == np.rint(pixels)).all()):
        raise InputError(
            f"{image.label}: the mask holds fractions between {pixels.min():g} and {pixels.max():g}, but "
            "whole numbers were expected; threshold it before."
        )
    if pixels.min() < 0 or pixels.max() > 65535:
        raise InputError(
            f"{image.label}: the mask holds values from {pixels.min():g} to {pixels.max():g}, but 0 to 65535 "
            "were expected; give another mask."
        )
    return pixels.astype(np.int64)


def _index_counts(indices: NDArray[Any], greys: NDArray[Any], known: tuple[int, ...] | None) -> bool:
    """Whether the index counts in a file whose palette is grey."""
    shown, numbers = set(np.unique(greys).tolist()), set(np.unique(indices).tolist())
    if shown <= {0, 255} and bool(((indices > 0) != (greys > 0)).any()):
        return False  # white comes first in the palette: the index is the negative of what is seen
    if known is not None:
        return numbers <= set(known) and not shown <= set(known)
    return numbers <= {0, 1} and not (shown <= {0, 1} or shown <= {0, 255})


def _from_values(values: NDArray[np.int64], image: Image, classes: MaskClasses) -> NDArray[Any]:
    table = np.full(65536, -1, np.int64)
    table[list(classes.file_values)] = np.arange(len(classes.names))
    indices = table[values]
    if (indices < 0).any():
        named = ", ".join(f"{v} ({n})" for v, n in zip(classes.file_values, classes.names, strict=True))
        advice = _advice(image, "values") or "name them too"
        raise InputError(
            f"{image.label}: the mask holds {_listing(np.unique(values[indices < 0]))}, but the "
            f"configuration names only {named}; {advice}."
        )
    return indices.astype(_index_type(classes))


def _from_colours(image: Image, classes: MaskClasses) -> NDArray[Any]:
    assert classes.colours is not None
    pixels = image.pixels
    if pixels.dtype != np.uint8:
        raise InputError(f"{image.label}: colour masks must have 8 bits, but this one is {pixels.dtype}.")
    rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    codes = (rgb.astype(np.int64) * (65536, 256, 1)).sum(axis=2)
    indices = np.full(codes.shape, -1, np.int64)
    for index, (red, green, blue) in enumerate(classes.colours):
        indices[codes == red * 65536 + green * 256 + blue] = index
    if (indices < 0).any():
        first = int(codes[indices < 0][0])
        named = ", ".join(f"{c} ({n})" for c, n in zip(classes.colours, classes.names, strict=True))
        advice = _advice(image, "colours") or "name it too"
        raise InputError(
            f"{image.label}: the mask holds the colour {(first >> 16, first >> 8 & 255, first & 255)}, but "
            f"the configuration names only {named}; {advice}."
        )
    return indices.astype(_index_type(classes))


def _advice(image: Image, what: str) -> str:
    """What to do about a format that alters values or colours; nothing where it does not."""
    name = "JPEG" if image.kind == "jpeg" else "lossy WebP"
    return f"{name} alters {what}: use PNG or TIFF for masks" if image.is_lossy else ""


def _rgb(text: str) -> tuple[int, int, int]:
    """The three numbers of a colour that is written as ``#RRGGBB``."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError(f"expected a colour such as #ff8000, but got {text!r}")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _index_type(classes: MaskClasses) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if len(classes.names) <= 256 else np.uint16


def _listing(values: NDArray[Any]) -> str:
    shown = ", ".join(str(int(value)) for value in values[:6])
    return f"the value{'s' if len(values) > 1 else ''} {shown}{', …' if len(values) > 6 else ''}"
