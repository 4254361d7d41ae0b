"""Image files and arrays: read a file as Keras does, write a picture, resize an array.

Law: `read_image(path, size)` is `keras.utils.load_img(path, target_size=size) / 255`, bit by bit.
"""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike
from PIL import Image, UnidentifiedImageError

from jaxviz.checks import height_width, near
from jaxviz.errors import InputError

__all__ = ["read_image", "write_image"]

# Without a list, Image.open tries each of Pillow's 40 parsers and more; photographs come in these five formats.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")

# Pillow's own limit, a quarter of a GiB of 8-bit RGB. A header of a few bytes can claim any size; Pillow only warns.
MAX_PIXELS = 89_478_485

MODES = {1: "L", 3: "RGB"}  # channels → Pillow's mode

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def read_image(
    path: str | os.PathLike[str],
    size: int | Sequence[int] | None = None,
    *,
    resample: str = "nearest",
    channels: int = 3,
) -> Float32[np.ndarray, "h w c"]:
    """The image in a file, float32 in [0, 1]: the bits of `keras.utils.load_img`, as an array divided by 255.

    As in Keras, colours are converted before resampling, transparency is dropped, and the EXIF rotation of a camera is
    not applied. Of an animation the first frame is read.

    Args:
        path: a PNG, JPEG, WebP, BMP or GIF file.
        size: height and width in pixels, one number for a square, None for the file's own size.
        resample: "nearest" (Keras' default), "bilinear", "bicubic", "lanczos", "box" or "hamming".
        channels: 3 for RGB, 1 for grey.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is not an image in one of these formats, is incomplete, has 16-bit greys or more than
            MAX_PIXELS pixels; or an argument is none of the above.
    """
    if channels not in MODES:
        raise InputError(f"channels must be 3 (RGB) or 1 (grey); given: {channels!r}")
    if resample not in RESAMPLE:
        raise InputError(
            f"resample must be one of {', '.join(RESAMPLE)}; {near(resample, RESAMPLE)}given: {resample!r}"
        )
    image = _decode(path, MODES[channels])
    if size is not None:
        height, width = _height_width(size)
        image = image.resize((width, height), RESAMPLE[resample])
    values = np.asarray(image, np.float32) / 255
    return values.reshape(*values.shape[:2], channels)


def write_image(path: str | os.PathLike[str], picture: ArrayLike) -> None:
    """Write a uint8 picture, `[h w 3]` or grey `[h w]`, in the format of the file's suffix (.png, .jpg, …).

    Args:
        path: the file to write; it is overwritten.
        picture: colours of 0–255.

    Raises:
        InputError: the picture has another type or shape, or the suffix is of no known format.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or picture.shape[2:] == (3,)) or picture.size == 0:
        raise InputError(
            "a picture must be uint8 [h w 3] or [h w]; jaxviz.rendering.rgb makes one from an array, and "
            "(255 * image).round().astype('uint8') from an image in [0, 1]; "
            f"given: {picture.dtype} {list(picture.shape)}"
        )
    suffix = os.path.splitext(path)[1].lower()
    if Image.registered_extensions().get(suffix) not in FORMATS:
        raise InputError(
            f"the suffix must be that of one of the formats {', '.join(FORMATS)}; given: {os.fspath(path)!r}"
        )
    Image.fromarray(picture).save(path, quality=95)  # of JPEG and WebP: at Pillow's 75 small tiles smear


def resize(values: ArrayLike, size: int | Sequence[int]) -> Float32[np.ndarray, "h w *c"]:
    """Values `[h w]` or `[h w c]` at another size: bilinear with half-pixel centres, antialiased where it shrinks.

    Enlarging gives the numbers of `cv2.resize` (INTER_LINEAR) and `tf.image.resize`.

    Args:
        values: numbers of any range; a NaN spreads to its neighbours.
        size: height and width in pixels, one number for a square.

    Raises:
        InputError: the values have another shape, or the size is not made of whole numbers, 1 or more.
    """
    values = np.asarray(values, np.float32)
    if values.ndim not in (2, 3) or values.size == 0:
        raise InputError(f"values to resize must be [h w] or [h w c] and not empty; given: shape {list(values.shape)}")
    height, width = _height_width(size)
    channels = values.reshape(*values.shape[:2], -1)
    resized = [
        Image.fromarray(channels[:, :, c]).resize((width, height), Image.Resampling.BILINEAR)
        for c in range(channels.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in resized], axis=-1).reshape(height, width, *values.shape[2:])


def _decode(path: str | os.PathLike[str], mode: str) -> Image.Image:
    """The first frame of an image file in one of MODES; an error of Pillow becomes an InputError of one sentence."""
    name = repr(os.fspath(path))
    try:
        with Image.open(path, formats=FORMATS) as image:  # reads the header only
            if image.mode[0] in "IF":
                raise InputError(f"{name} holds 16-bit greys, which would be clipped at 255: save it with 8 bits")
            if image.width * image.height <= MAX_PIXELS:
                # Transparency is dropped in any case, but a palette with transparency makes Pillow warn.
                image.info.pop("transparency", None)
                return image.convert(mode)
    except InputError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no image file {name} (looked from {os.getcwd()})") from None
    except UnidentifiedImageError:
        raise InputError(f"{name} is not an image in one of the formats {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass  # Pillow has the same limit
    except Exception as failure:  # of damaged bytes, each decoder has its own: OSError, SyntaxError, struct.error …
        raise InputError(f"{name} cannot be read: {failure}") from None
    raise InputError(f"{name} has more than {MAX_PIXELS:,} pixels, the most that is decoded: make it smaller first")


def _height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """The height and width of a size argument.

    Raises:
        InputError: no whole numbers of pixels, or more than MAX_PIXELS in all.
    """
    height, width = height_width("size", size)
    if height * width > MAX_PIXELS:
        raise InputError(f"size is at most {MAX_PIXELS:,} pixels in all; given: {size!r}")
    return height, width
