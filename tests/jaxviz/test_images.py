"""Image files.

Laws:
- An image is read as Keras reads it, bit by bit, and a picture that was written is read back.
- `resize` gives the numbers of `tf.image.resize` where it enlarges.
- A file that is damaged, too large or of another format is an error of one sentence, never a crash or a wrong image.
"""

import contextlib
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage
import tensorflow as tf
from PIL import Image, ImageOps

from jaxviz.errors import InputError
from jaxviz.rendering.images import (
    FORMATS,
    MAX_PIXELS,
    RESAMPLE,
    NotUpright,
    read_image,
    resize,
    write_animation,
    write_image,
)

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
CAT = PHOTOGRAPHS / "chelsea.png"  # 300×451, RGB
KERAS_MODE = {3: "rgb", 1: "grayscale"}


def files(folder: Path) -> dict[str, Path]:
    """One small file of each kind that a photograph or a logo comes in."""
    cat = Image.open(CAT).resize((61, 40))
    pixels = np.asarray(cat)
    alpha = np.dstack([pixels, np.arange(pixels[..., 0].size, dtype=np.uint8).reshape(pixels.shape[:2])])
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    animation = [cat.convert("P"), cat.transpose(Image.Transpose.ROTATE_180).convert("P")]
    saved = {
        "rgb.png": (cat, {}),
        "rgb.bmp": (cat, {}),
        "rgb.webp": (cat, {}),
        "rgba.png": (Image.fromarray(alpha), {}),
        "grey.png": (cat.convert("L"), {}),
        "palette.png": (cat.convert("P"), {"transparency": bytes(range(256))}),
        "photograph.jpg": (cat, {}),
        "grey.jpg": (cat.convert("L"), {}),
        "cmyk.jpg": (cat.convert("CMYK"), {}),
        "turned.jpg": (cat, {"exif": turned}),
        "scan.tiff": (cat, {}),
        "grey.tif": (cat.convert("L"), {}),
        "turned.tif": (cat, {"exif": turned}),  # Pillow, and so Keras, turns it
        "animation.gif": (animation[0], {"save_all": True, "append_images": animation[1:]}),
    }
    for name, (image, options) in saved.items():
        image.save(folder / name, **options)
    return {name: folder / name for name in saved}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Keras' conversion, not ours
@pytest.mark.filterwarnings("ignore::jaxviz.NotUpright")
def test_every_file_is_read_as_keras_reads_it(tmp_path, channels):
    for path in files(tmp_path).values():
        for size in (None, (25, 33), (90, 70)):
            expected = keras.utils.load_img(path, color_mode=KERAS_MODE[channels], target_size=size)
            image = read_image(path, size, channels=channels)
            assert image.dtype == np.float32
            np.testing.assert_array_equal(image, keras.utils.img_to_array(expected) / 255, err_msg=path.name)


@pytest.mark.parametrize("resample", RESAMPLE)
@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg"])
def test_every_filter_is_keras_filter(name, resample):
    expected = keras.utils.load_img(PHOTOGRAPHS / name, target_size=(150, 150), interpolation=resample)
    image = read_image(PHOTOGRAPHS / name, 150, resample=resample)
    np.testing.assert_array_equal(image, keras.utils.img_to_array(expected) / 255)


def test_reading_does_not_warn_about_a_palette_with_transparency(tmp_path):
    read_image(files(tmp_path)["palette.png"])  # warnings are errors here


def test_the_size_is_height_and_width():
    assert read_image(CAT).shape == (300, 451, 3)
    assert read_image(CAT, (20, 30)).shape == (20, 30, 3)
    assert read_image(str(CAT), [20, 30], channels=1).shape == (20, 30, 1)


@pytest.mark.parametrize("size", [0, -3, (20, 0), (20, 30, 3), (10**5, 10**5)])
def test_an_unusable_size_is_refused(size):
    with pytest.raises(InputError, match=r"size is (a whole number of pixels|at most)"):
        read_image(CAT, size)


def test_unknown_arguments_are_refused():
    with pytest.raises(InputError, match="channels must be 3"):
        read_image(CAT, channels=4)
    with pytest.raises(InputError, match="resample must be one of nearest, bilinear"):
        read_image(CAT, resample="cubic")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no image file '.*cat\.jpg'"):
        read_image(tmp_path / "cat.jpg")


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.tga")
    (tmp_path / "bands.tif").write_bytes(b"II*\0" + bytes(60))
    for name in ("page.jpg", "photo.tga", "bands.tif"):
        with pytest.raises(InputError, match=rf"{name}' is not an image in one of the formats PNG, JPEG"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match=r"cannot be read: .*directory"):
        read_image(tmp_path)


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    for name, path in files(tmp_path).items():
        whole = path.read_bytes()
        for kept in (0.4,) if name == "animation.gif" else (0.4, 0.98):  # from half on its first frame is whole
            (tmp_path / f"cut {name}").write_bytes(whole[: int(kept * len(whole))])
            with pytest.raises(InputError, match=r"cannot be read: |is not an image") as caught:
                read_image(tmp_path / f"cut {name}")
            assert caught.value.__suppress_context__


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged metadata
def test_damaged_bytes_raise_nothing_else(tmp_path):
    generator = np.random.default_rng(0)
    for path in files(tmp_path).values():
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(20):
            damaged = whole.copy()
            damaged[generator.integers(0, len(whole), 20)] = generator.integers(0, 256, 20)
            path.write_bytes(damaged.tobytes())
            with contextlib.suppress(InputError):  # or nothing: some damage only changes colours
                read_image(path)


@pytest.mark.parametrize("side", [9_500, 100_000])  # above the limit, and above twice the limit, where Pillow refuses
@pytest.mark.parametrize("warnings", ["error", "ignore"])
def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, side, warnings, recwarn):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.MonkeyPatch.context() as patch:
        if warnings == "ignore":
            patch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a program that switched Pillow's own limit off
        with pytest.raises(InputError, match=f"more than {MAX_PIXELS:,} pixels"):
            read_image(path)


@pytest.mark.parametrize("channels", [3, 1])
def test_greys_of_many_levels_keep_their_range(tmp_path, channels):
    """16 bits, 12 bits in 16, 32 bits and floats: the number in the file over the number that is white."""
    generator = np.random.default_rng(0)
    twelve, floats = generator.integers(0, 4096, (9, 7)), generator.random((9, 7), np.float32)
    for name, values, given, white in (
        ("x.png", (16 * twelve).astype(np.uint16), None, 65535),
        ("x.tif", (16 * twelve).astype(np.uint16), None, 65535),
        ("twelve.png", twelve.astype(np.uint16), 4095, 4095),
        ("long.tif", twelve.astype(np.int32), 4095, 4095),
        ("float.tif", floats, None, 1),
        ("large.tif", 2000 * floats, 2000, 2000),
    ):
        Image.fromarray(values).save(tmp_path / name)
        image = read_image(tmp_path / name, channels=channels, white=given)
        assert image.shape == (9, 7, channels)
        np.testing.assert_allclose(image[..., -1], values / white, atol=1e-6, err_msg=name)
        assert read_image(tmp_path / name, 20, white=given, resample="lanczos").min() >= 0


def test_numbers_without_a_white_are_refused(tmp_path):
    for name, values, white, reason in (
        ("long.tif", np.full((4, 4), 3000, np.int32), None, "greys of 32 bits, from 3000 to 3000: white= must say"),
        ("float.tif", np.full((4, 4), 3000, np.float32), None, "floats from 3000 to 3000, which are not all within"),
        ("nan.tif", np.full((4, 4), np.nan, np.float32), None, "floats from nan to nan"),
        ("negative.tif", np.full((4, 4), -1, np.float32), 5, "floats from -1 to -1"),
        ("zero.tif", np.zeros((4, 4), np.float32), 0, "white is a number above 0; given: 0"),
        ("photo.png", np.zeros((4, 4), np.uint8), 100, "has 8 bits, whose white is 255"),
    ):
        Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(InputError, match=reason):
            read_image(tmp_path / name, white=white)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_photographs_are_turned_upright_on_request(tmp_path, suffix):
    """As Pillow's exif_transpose turns them; Pillow turns a TIFF file itself, so there is nothing to say."""
    for orientation in range(1, 10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{suffix}"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)).save(path, exif=exif)
        with Image.open(path) as image:
            upright = np.asarray(ImageOps.exif_transpose(image), np.float32) / 255
        np.testing.assert_array_equal(read_image(path, upright=True), upright)
        stored = upright if suffix == "tif" else np.asarray(Image.open(path), np.float32) / 255
        np.testing.assert_array_equal(read_image(path, upright=False), stored)
        if suffix == "tif" or orientation in (1, 9):
            read_image(path)  # warnings are errors here
        else:
            with pytest.warns(NotUpright, match="has an EXIF orientation, which is not applied, as in Keras"):
                read_image(path)


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_a_written_png_is_read_back(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    write_image(tmp_path / "a.png", picture)
    image = read_image(tmp_path / "a.png", channels=3 if len(shape) == 3 else 1)
    np.testing.assert_array_equal(np.rint(255 * image).astype(np.uint8).reshape(shape), picture)


def test_the_suffix_names_the_format(tmp_path):
    picture = np.full((8, 8, 3), 200, np.uint8)
    for suffix, name in {".png": "PNG", ".jpg": "JPEG", ".JPEG": "JPEG", ".webp": "WEBP"}.items():
        write_image(tmp_path / f"a{suffix}", picture)
        with Image.open(tmp_path / f"a{suffix}", formats=FORMATS) as image:
            assert image.format == name
    for name in ("a.tiff", "a"):
        with pytest.raises(InputError, match="the suffix must be that of one of the formats PNG"):
            write_image(tmp_path / name, picture)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_less_quality_is_a_smaller_file(tmp_path, suffix):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    sizes = []
    for quality in (20, 80, 95):
        write_image(tmp_path / f"{quality}{suffix}", picture, quality=quality)
        sizes.append((tmp_path / f"{quality}{suffix}").stat().st_size)
    write_image(tmp_path / f"default{suffix}", picture)
    assert sizes == sorted({*sizes})
    assert (tmp_path / f"default{suffix}").stat().st_size == sizes[-1]
    with pytest.raises(InputError, match="from 0 to 100; given: 101"):
        write_image(tmp_path / f"a{suffix}", picture, quality=101)


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3)), np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8)])
def test_only_pictures_are_written(tmp_path, picture):
    with pytest.raises(InputError, match=r"a picture must be uint8 \[h w 3\], \[h w 4\] or \[h w\];.*; given: "):
        write_image(tmp_path / "a.png", picture)


@pytest.mark.parametrize(("suffix", "error"), [(".gif", 8), (".png", 0), (".webp", 30)])
def test_an_animation_is_its_pictures_one_after_the_other(tmp_path, suffix, error):
    pictures = [np.full((16, 20, 3), level, np.uint8) for level in (0, 90, 180)]
    write_animation(tmp_path / f"a{suffix}", pictures, seconds=0.05, rest=0.2)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.n_frames == 3
        times = []
        for frame, picture in enumerate(pictures):
            image.seek(frame)
            shown = np.asarray(image.convert("RGB"), int)
            assert np.abs(shown - picture).max() <= error
            times.append(image.info["duration"])
        assert times == [50, 50, 250]
        assert image.info["loop"] == 0


def test_animations_that_cannot_be_written(tmp_path):
    picture = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"of one of the formats GIF, PNG, WEBP; given: .*jpg"):
        write_animation(tmp_path / "a.jpg", picture)
    with pytest.raises(InputError, match=r"several pictures \[n h w 3\]; given: one picture \[8, 9, 3\]"):
        write_animation(tmp_path / "a.gif", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(InputError, match="seconds is a time of more than 0, and rest one of 0 or more; given: 0, 1"):
        write_animation(tmp_path / "a.gif", picture, seconds=0)
    with pytest.raises(InputError, match="rest is a finite number; given: nan"):
        write_animation(tmp_path / "a.gif", picture, rest=np.nan)
    with pytest.raises(InputError, match=r"a picture must be uint8 .*; given: float64 \[8, 8, 3\]"):
        write_animation(tmp_path / "a.gif", picture / 2)
    with pytest.raises(InputError, match="a picture must be uint8"):
        write_animation(tmp_path / "a.gif", [])
    with pytest.raises(InputError, match="the pictures of an animation have one size"):
        write_animation(tmp_path / "a.gif", [picture[0], picture[0, :4]])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(14, 14), (7, 5, 3), (1, 1)])
def test_enlarging_is_tensorflows_bilinear(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = tf.image.resize(values.reshape(*shape[:2], -1), (30, 61)).numpy().reshape(30, 61, *shape[2:])
    np.testing.assert_allclose(resize(values, (30, 61)), expected, atol=1e-5)


def test_enlarging_by_hand():
    # Centres of the four new pixels lie at -1/4, 1/4, 3/4, 5/4 of the two old ones; outside, the edge goes on.
    np.testing.assert_allclose(resize([[0, 4]], (1, 4)), [[0, 1, 3, 4]])


def test_resizing_keeps_its_own_size_and_leaves_the_input():
    values = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    before = values.copy()
    np.testing.assert_array_equal(resize(values, (6, 9)), values)
    resize(values, 3)
    np.testing.assert_array_equal(values, before)
    assert resize(values, 3).dtype == np.float32


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4, 3), (0, 4)])
def test_resizing_refuses_other_shapes(shape):
    with pytest.raises(InputError, match=r"values to resize must be \[h w\] or \[h w c\]"):
        resize(np.zeros(shape), 8)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_an_opacity_is_kept(tmp_path, suffix):
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    write_image(tmp_path / f"a{suffix}", picture)
    write_animation(tmp_path / f"b{suffix}", picture[None])
    for name in (f"a{suffix}", f"b{suffix}"):
        found = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(found[..., 3], picture[..., 3])
    with pytest.raises(InputError, match=r"one of the formats PNG, WEBP; given: .*a.jpg"):
        write_image(tmp_path / "a.jpg", picture)
    with pytest.raises(InputError, match=r"one of the formats PNG, WEBP; given: .*a.gif"):
        write_animation(tmp_path / "a.gif", picture[None])
