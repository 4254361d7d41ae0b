"""Image files and arrays: read a file as Keras does, write a picture, resize an array.

Law: `read_image(path, size)` is `keras.utils.load_img(path, target_size=size) / 255`, bit by bit. Keras clips greys of
more than 8 bits at 255; here they keep their range.
"""

import os
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike
from PIL import Image, UnidentifiedImageError

from jaxviz.checks import finite, height_width, near
from jaxviz.errors import InputError, JaxvizWarning, warn

__all__ = ["NotUpright", "read_image", "write_animation", "write_image"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # that are written
MOVING = ("GIF", "PNG", "WEBP")  # of which these may hold several pictures
SEE_THROUGH = ("PNG", "WEBP")  # and these an opacity for each pixel
# Without a list, Image.open tries each of Pillow's 40 parsers and more. Photographs come in the formats above;
# microscopes, X-ray and satellites write TIFF.
READ = (*FORMATS, "TIFF")

ORIENTATION = 0x0112  # the tag of EXIF that says how a camera was held; 1: upright
TURNS = {  # how an image of each orientation becomes upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

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


class NotUpright(JaxvizWarning):
    """The file says how the camera was held, and the image was read as the bytes have it: it may lie on its side."""


def read_image(
    path: str | os.PathLike[str],
    size: int | Sequence[int] | None = None,
    *,
    resample: str = "nearest",
    channels: int = 3,
    upright: bool | None = None,
    white: float | int | None = None,
) -> Float32[np.ndarray, "h w c"]:
    """The image in a file, float32 in [0, 1]: the bits of `keras.utils.load_img`, as an array divided by 255.

    As in Keras, colours are converted before resampling, transparency is dropped, and the EXIF rotation of a camera is
    not applied unless `upright` says so. Of an animation or a stack the first frame is read. Greys of 16 bits, and
    those of a TIFF file that are floats, are divided by `white` and keep their range; Keras would clip them at 255.

    Args:
        path: a PNG, JPEG, WebP, BMP, GIF or TIFF file.
        upright: True: turn the image as the camera was held, by the EXIF orientation in the file. False: as the bytes
            of the file have it, which Keras reads. None: the same, with a warning if the file has an orientation. A
            TIFF file is always upright, here and in Keras.
        white: for greys of 16 bits, 32 bits or floats: the number in the file that is white, such as 4095 for 12 bits
            in 16. Default: 65535 for 16 bits, 1 for floats.
        size: height and width in pixels, one number for a square, None for the file's own size.
        resample: "nearest" (Keras' default), "bilinear", "bicubic", "lanczos", "box" or "hamming".
        channels: 3 for RGB, 1 for grey.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is not an image in one of these formats, is incomplete, has more than MAX_PIXELS pixels,
            or numbers outside of 0 to `white`; or an argument is none of the above.
    """
    if channels not in MODES:
        raise InputError(f"channels must be 3 (RGB) or 1 (grey); given: {channels!r}")
    if resample not in RESAMPLE:
        raise InputError(
            f"resample must be one of {', '.join(RESAMPLE)}; {near(resample, RESAMPLE)}given: {resample!r}"
        )
    image, orientation = _decode(path, MODES[channels], white)
    if upright:
        image = _turned(image, orientation)
    elif upright is None and orientation in TURNS:
        warn(
            f"{os.fspath(path)!r} has an EXIF orientation, which is not applied, as in Keras: the image may lie on its "
            "side. upright=True turns it, upright=False says that it is meant so",
            NotUpright,
        )
    if size is not None:
        height, width = _height_width(size)
        image = image.resize((width, height), RESAMPLE[resample])
    values = np.asarray(image, np.float32)
    # Of floats, some filters go beyond the range of the image, where Pillow clips whole numbers.
    values = np.clip(values, 0, 1) if image.mode == "F" else values / np.float32(255)
    return np.broadcast_to(values.reshape(*values.shape[:2], -1), (*values.shape[:2], channels)).copy()


def write_image(path: str | os.PathLike[str], picture: ArrayLike, *, quality: int = 95) -> None:
    """Write a uint8 picture, `[h w 3]` or grey `[h w]`, in the format of the file's suffix (.png, .jpg, …).

    Args:
        path: the file to write; it is overwritten.
        picture: colours of 0–255; `[h w 4]` with an opacity, as of an `Alpha` canvas, in a PNG or WebP.
        quality: of a JPEG or WebP, from 0 (smallest) to 100. At Pillow's 75, small tiles smear.

    Raises:
        InputError: the picture has another type or shape, the suffix is of no known format, or the quality is none.
    """
    if not 0 <= finite("quality", quality) <= 100:
        raise InputError(f"quality is a whole number from 0 to 100; given: {quality!r}")
    (checked,) = _pictures(np.asarray(picture)[None])
    _check_suffix(path, SEE_THROUGH if checked.mode == "RGBA" else FORMATS)
    checked.save(path, quality=quality)


def write_animation(
    path: str | os.PathLike[str], pictures: ArrayLike, *, seconds: float | int = 0.1, rest: float | int = 1.0
) -> None:
    """Write pictures that follow each other, as an animation in the format of the file's suffix: .gif, .png or .webp.

    It begins again at its end. A GIF has 256 colours in each picture; a PNG (APNG) has them all, and is larger.

    Args:
        path: the file to write; it is overwritten.
        pictures: uint8 `[n h w 3]` or grey `[n h w]`, of 0–255; `[n h w 4]` with an opacity in a PNG or WebP.
        seconds: how long each is shown; a GIF counts in hundredths.
        rest: how many seconds longer the last one is shown.

    Raises:
        InputError: a single picture, pictures of another type or shape, a suffix of no such format, or a time that is
            negative.
    """
    try:
        values = np.asarray(pictures)
    except ValueError:
        raise InputError("the pictures of an animation have one size; given: pictures of several") from None
    if values.ndim == 3 and values.shape[-1] in (3, 4):  # as grey pictures, they would be 3 or 4 pixels wide
        raise InputError(f"an animation is of several pictures [n h w 3]; given: one picture {list(values.shape)}")
    first, *others = _pictures(values)
    if not finite("seconds", seconds) > 0 or not finite("rest", rest) >= 0:
        raise InputError(f"seconds is a time of more than 0, and rest one of 0 or more; given: {seconds}, {rest}")
    _check_suffix(path, SEE_THROUGH if first.mode == "RGBA" else MOVING)
    times = [round(1000 * seconds)] * len(others) + [round(1000 * (seconds + rest))]
    first.save(path, save_all=True, append_images=others, duration=times, loop=0, quality=95)


def _pictures(pictures: ArrayLike) -> list[Image.Image]:
    """Pictures `[n h w 3]`, `[n h w 4]` or grey `[n h w]` as Pillow's.

    Raises:
        InputError: another type or shape.
    """
    values = np.asarray(pictures)
    if values.dtype != np.uint8 or not (values.ndim == 3 or values.shape[3:] in ((3,), (4,))) or values.size == 0:
        raise InputError(
            "a picture must be uint8 [h w 3], [h w 4] or [h w]; jaxviz.rendering.rgb makes one from an array, and "
            "(255 * image).round().astype('uint8') from an image in [0, 1]; "
            f"given: {values.dtype} {list(values.shape[1:])}"
        )
    return [Image.fromarray(picture) for picture in values]


def _check_suffix(path: str | os.PathLike[str], formats: tuple[str, ...]) -> None:
    """Refuse a file whose suffix is of none of the formats.

    Raises:
        InputError: it is not.
    """
    suffix = os.path.splitext(path)[1].lower()
    if Image.registered_extensions().get(suffix) not in formats:
        raise InputError(
            f"the suffix must be that of one of the formats {', '.join(formats)}; given: {os.fspath(path)!r}"
        )


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
    planes = np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)
    resized = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(channel) for channel in resized], axis=-1).reshape(height, width, *values.shape[2:])


def _decode(path: str | os.PathLike[str], mode: str, white: float | int | None) -> tuple[Image.Image, int]:
    """The first frame of an image file and its EXIF orientation.

    The image is in one of MODES, or in "F", greys in [0, 1], if the file has more than 8 bits. An error of Pillow
    becomes an InputError of one sentence.
    """
    name = repr(os.fspath(path))
    try:
        with Image.open(path, formats=READ) as image:  # reads the header only
            if image.width * image.height <= MAX_PIXELS:
                found = _greys(image, white, name) if image.mode[0] in "IF" else _colours(image, mode, white, name)
                return found, _orientation(image)
    except InputError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no image file {name} (looked from {os.getcwd()})") from None
    except UnidentifiedImageError:
        raise InputError(f"{name} is not an image in one of the formats {', '.join(READ)}{_of_tiff(path)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass  # Pillow has the same limit
    except Exception as failure:  # of damaged bytes, each decoder has its own: OSError, SyntaxError, struct.error …
        raise InputError(f"{name} cannot be read: {failure}") from None
    raise InputError(f"{name} has more than {MAX_PIXELS:,} pixels, the most that is decoded: make it smaller first")


def _colours(image: Image.Image, mode: str, white: float | int | None, name: str) -> Image.Image:
    """An image of 8 bits in one of MODES."""
    if white not in (None, 255):
        raise InputError(f"white is for greys of 16 bits or floats; {name} has 8 bits, whose white is 255")
    # Transparency is dropped in any case, but a palette with transparency makes Pillow warn.
    image.info.pop("transparency", None)
    return image.convert(mode)


def _greys(image: Image.Image, white: float | int | None, name: str) -> Image.Image:
    """An image of 16 bits, 32 bits or floats in [0, 1]: divided by the number that is white."""
    values = np.asarray(image)
    kind = "floats" if image.mode == "F" else f"greys of {'16' if image.mode.startswith('I;16') else '32'} bits"
    white = {"floats": 1, "greys of 16 bits": 65535}.get(kind) if white is None else white
    if white is None:
        raise InputError(f"{name} holds {kind}, from {values.min()} to {values.max()}: white= must say which is white")
    if not finite("white", white) > 0:
        raise InputError(f"white is a number above 0; given: {white!r}")
    scaled = values.astype(np.float64) / white
    if not (scaled.min() >= 0 and scaled.max() <= 1):  # also for NaN
        raise InputError(
            f"{name} holds {kind} from {values.min():g} to {values.max():g}, which are not all within 0 and "
            f"white={white:g}: give the number that is white, or read the file yourself and scale it to [0, 1]"
        )
    return Image.fromarray(scaled.astype(np.float32))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image that was decoded; 1 if it is upright or has none. Pillow turns TIFF itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata
            return image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged metadata is no reason not to read the pixels
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright, from how EXIF says that the camera was held."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _of_tiff(path: str | os.PathLike[str]) -> str:
    """What to do with a TIFF file of bands, which Pillow cannot read; "" for other files."""
    with open(path, "rb") as file:
        if file.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return ""
    return (
        "; it is a TIFF file with more bands or another encoding than Pillow reads: read it with the package tifffile, "
        "scale it to [0, 1], and pass the array [h w c] itself"
    )


def _height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """The height and width of a size argument.

    Raises:
        InputError: no whole numbers of pixels, or more than MAX_PIXELS in all.
    """
    height, width = height_width("size", size)
    if height * width > MAX_PIXELS:
        raise InputError(f"size is at most {MAX_PIXELS:,} pixels in all; given: {size!r}")
    return height, width
