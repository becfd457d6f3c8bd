"""What callers give for a picture in memory, as an array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

_GREY_OF = {"1": "L", "LA": "L", "La": "L"}
_AS_THEY_ARE = ("L", "RGB", "F", "I")


def as_pixels(image: object) -> NDArray[Any]:
    """The pixels of a picture; those of an array or a tensor are not copied where that can be helped.

    Args:
        image: an array, a tensor, or a PIL picture, whose transparency is dropped without blending and whose
            palette becomes RGB, as when a file is read.

    Returns:
        In the shape and number type that the picture has.

    Raises:
        InputError: something else, such as a file's name, or an array that holds no numbers.

    Example:
        >>> import PIL.Image
        >>> as_pixels(PIL.Image.new("RGBA", (3, 2))).shape
        (2, 3, 3)
        >>> as_pixels("slide.png")
        Traceback (most recent call last):
        scalefuse.errors.InputError: Expected the pixels of a picture, but got str; read files with ...
    """
    given: Any = image
    if is_tensor(image):
        given = given.detach().cpu()
        # NumPy has no numbers of this kind.
        given = given.float().numpy() if str(given.dtype) == "torch.bfloat16" else given.numpy()
    elif is_pil(image) and given.mode not in _AS_THEY_ARE and not given.mode.startswith("I;16"):
        given = given.convert(_GREY_OF.get(given.mode, "RGB"))
    try:
        pixels = np.asarray(given)
    except (ValueError, TypeError):
        # Lists of unequal length.
        pixels = np.array(None)
    if pixels.dtype.kind not in "buif":
        what = f"an array of {pixels.dtype}" if image is pixels else type(image).__name__
        raise InputError(
            f"Expected the pixels of a picture, but got {what}; read files with "
            "scalefuse.data.read_image, and give arrays of numbers."
        )
    return pixels


def is_tensor(image: object) -> bool:
    """Whether something is a PyTorch tensor; PyTorch is not imported for it.

    Example:
        >>> is_tensor(np.zeros(3))
        False
    """
    return hasattr(image, "detach") and hasattr(image, "numpy")


def is_pil(image: object) -> bool:
    """Whether something is a PIL picture; PIL is not imported for it.

    Example:
        >>> is_pil(np.zeros(3))
        False
    """
    return hasattr(image, "getbands") and hasattr(image, "convert")
