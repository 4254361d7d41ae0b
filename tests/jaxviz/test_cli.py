"""Law: a command ends in pictures and exit status 0, or in one line on stderr and exit status 2 and no picture.

The pictures are those that the command names on stdout, in the folder that it was given. Bad input and blank maps are
explained in the words of the command line. A bug is not bad input: it shows its traceback.
"""

import inspect
import re
import signal
import subprocess
import sys
import warnings

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from demo_page import check
from PIL import Image

import jaxviz as jv
from jaxviz.cli import demo
from jaxviz.cli.commands import main
from jaxviz.cli.methods import GENERAL, METHODS


@pytest.fixture
def jaxviz(tmp_path, monkeypatch):
    """A function that runs the command in an empty folder and returns its result."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="jaxviz")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def written(result, folder) -> dict[str, np.ndarray]:
    """The pictures that a successful run wrote, by name: it names every picture in the folder, and no other."""
    assert result.exit_code == 0, result.output
    paths = re.findall(r"^\S+\.png$", result.stdout, re.MULTILINE)
    assert sorted(folder / path for path in paths) == sorted(folder.rglob("*.png"))
    return {path: opened(folder / path) for path in paths}


def opened(path) -> np.ndarray:
    """The picture in a file, [h w 3]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("command", [(), *((name,) for name in main.commands)])
def test_help_has_examples(jaxviz, command):
    result = jaxviz(*command, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n    ?jaxviz {' '.join(command)}".replace("    ?", " +"), result.stdout)


def test_activations_of_all_layers_with_maps(jaxviz, tmp_path, cats_and_dogs_file, photograph):
    pictures = written(jaxviz("activations", cats_and_dogs_file, photograph), tmp_path)
    layers = [f"{kind}_{i}" for i in (12, 13, 14) for kind in ("conv2d", "max_pooling2d")]
    assert list(pictures) == [f"pictures/activations_{layer}.png" for layer in layers]
    assert all(picture.std() > 10 for picture in pictures.values())


def test_activations_of_one_channel(jaxviz, tmp_path, cats_and_dogs_file, photograph):
    result = jaxviz(
        "activations", cats_and_dogs_file, photograph, "--layer", "conv2d_12", "--channel", 3, "--out", "a/b"
    )
    assert list(written(result, tmp_path)) == ["a/b/activations_conv2d_12_3.png"]


def test_filters_are_a_grid_of_exact_pixels(jaxviz, tmp_path, cats_and_dogs_file):
    result = jaxviz("filters", cats_and_dogs_file, "--recipe", "chollet", "--steps", 2, "--seed", 5)
    (path, grid), *others = written(result, tmp_path).items()
    assert path == "pictures/filters_conv2d_14.png"
    assert not others
    assert grid.shape == (2 * 64 + 5, 8 * 64 + 7 * 5, 3)  # its 16 filters
    assert not grid[64:69].any()
    assert not grid[:, 64:69].any()
    assert "do not move" in result.output  # some filters of this file are inactive at its noise


def test_filters_named_by_channel(jaxviz, tmp_path, cats_and_dogs_file):
    options = ("--layer", "conv2d_13", "--size", 40, "--steps", 1, "--columns", 2, "--margin", 1, "--recipe", "chollet")
    one = written(jaxviz("filters", cats_and_dogs_file, *options, "--channel", 30), tmp_path)
    assert {path: picture.shape for path, picture in one.items()} == {"pictures/filters_conv2d_13_30.png": (40, 40, 3)}
    result = jaxviz("filters", cats_and_dogs_file, *options, "--channel", 30, "--channel", 2, "--channel", 9)
    assert result.exit_code == 0
    three = opened(tmp_path / "pictures/filters_conv2d_13.png")
    assert three.shape == (81, 81, 3)
    np.testing.assert_array_equal(three[:40, :40], *one.values())  # the same key, whatever climbs beside it


def test_filters_as_on_keras_io(jaxviz, tmp_path, cats_and_dogs_file):
    result = jaxviz("filters", cats_and_dogs_file, "--recipe", "keras_io", "--steps", 1, "--rows", 1, "--columns", 3)
    (grid,) = written(result, tmp_path).values()
    assert grid.shape == (130, 3 * 130 + 2 * 5, 3)


def test_filters_by_lucids_recipe_with_their_numbers(jaxviz, tmp_path, cats_and_dogs_file):
    """The default; the page is wider than the images, which are apart, and it has text above them."""
    options = ("--layer", "conv2d_12", "--channel", 3, "--channel", 11, "--steps", 2, "--size", 32)
    (page,) = written(jaxviz("filters", cats_and_dogs_file, *options, "--numbers"), tmp_path).values()
    (grid,) = written(jaxviz("filters", cats_and_dogs_file, *options), tmp_path).values()
    assert grid.shape == (32, 32 + 5 + 32, 3)
    assert page.shape[1] > 2 * grid.shape[1]
    assert page.shape[0] > page.shape[1] / 2


@pytest.mark.parametrize(("options", "inputs"), [((), "raw255"), (("--inputs", "caffe"), "caffe")])
def test_filters_of_vgg_climb_on_raw_pixels(jaxviz, monkeypatch, options, inputs):
    fed = []

    def sweep(model, objectives, **settings):
        fed.append(model.inputs.name)
        return jv.Ascent(np.ones((1, 8, 8, 3), np.float32), np.ones((1, 1), np.float32))

    monkeypatch.setattr(jv, "sweep", sweep)
    assert jaxviz("filters", "vgg16_demo", "--recipe", "chollet", *options).exit_code == 0
    assert fed == [inputs]


def test_ctrl_c_keeps_the_filters_that_are_finished(jaxviz, tmp_path, monkeypatch, cats_and_dogs_file):
    finished = jv.Ascent(np.ones((3, 8, 8, 1), np.float32), np.ones((3, 1), np.float32))

    def sweep(*_, **__):
        raise jv.Interrupted(finished, [0, 1, 2])

    monkeypatch.setattr(jv, "sweep", sweep)
    result = jaxviz("filters", cats_and_dogs_file)
    assert result.exit_code == 128 + signal.SIGINT
    assert "3 of 16 are finished" in result.stdout
    assert result.stderr == "jaxviz: stopped\n"
    refused = jaxviz("filters", cats_and_dogs_file, "--layer", "conv2d_12", "--layer", "conv2d_15")
    assert refused.exit_code == 2  # before the first layer is climbed
    assert opened(tmp_path / "pictures/filters_conv2d_14.png").shape == (8, 3 * 8 + 2 * 5, 3)


def test_a_dream_keeps_the_size_of_the_photograph(jaxviz, tmp_path, cats_and_dogs_file):
    photo = cats_and_dogs_file.with_name("test2.jpeg")
    options = ("--layer", "conv2d_12", "--octaves", 1, "--steps", 1, "--tile", 128, "--seed", 3)
    ((path, dream),) = written(jaxviz("dream", cats_and_dogs_file, photo, *options), tmp_path).items()
    assert path == "pictures/dream_test2_conv2d_12.png"
    assert dream.shape == (217, 287, 3)
    change = np.abs(dream[..., 0].astype(float) - 255 * jv.read_image(photo, channels=1)[..., 0])
    assert change.mean() == pytest.approx(1.5, abs=0.4)  # the length of a step, less what is clipped


def test_a_caricature_for_each_layer(jaxviz, tmp_path, monkeypatch, cats_and_dogs_file):
    asked = []

    def caricature(model, image, layer, **settings):
        asked.append((layer, settings["steps"], settings["power"]))
        return jv.Ascent(np.full((256, 256, 1), 0.5, np.float32), np.ones(1, np.float32))

    monkeypatch.setattr(jv, "caricature", caricature)
    photo = cats_and_dogs_file.with_name("test2.jpeg")
    two = ("--layer", "conv2d_12", "--layer", "conv2d_13")
    result = jaxviz("caricature", cats_and_dogs_file, photo, *two, "--power", 2)
    pictures = written(result, tmp_path)
    assert list(pictures) == [f"pictures/caricature_test2_conv2d_{i}.png" for i in (12, 13)]
    assert asked == [("conv2d_12", 256, 2.0), ("conv2d_13", 256, 2.0)]
    refused = jaxviz("caricature", cats_and_dogs_file, photo, *two, "--layer", "conv2d_15")
    assert refused.exit_code == 2
    assert len(asked) == 2


def test_class_pictures(jaxviz, tmp_path, cats_and_dogs_file):
    options = ("--recipe", "chollet", "--size", 256, "--steps", 1, "--columns", 2, "--margin", 1)
    ((path, grid),) = written(jaxviz("class", cats_and_dogs_file, *options), tmp_path).items()
    assert path == "pictures/class.png"
    assert grid.shape == (256, 513, 3)  # the two classes of a sigmoid
    assert (grid[:, :256] != grid[:, 257:]).any()
    refused = jaxviz("class", cats_and_dogs_file, *options, "--target", 2)
    assert refused.exit_code == 2
    assert "a head of one sigmoid unit has the classes 0 and 1; given: 2" in refused.stderr
    assert jaxviz("class", "vgg16_demo", *options).exit_code == 2  # without its classifier


def test_gradcam_prints_the_decision_and_draws_over_the_photograph(jaxviz, tmp_path, cats_and_dogs_file):
    photo = cats_and_dogs_file.with_name("test2.jpeg")
    result = jaxviz("gradcam", cats_and_dogs_file, photo, "--cmap", "jet", "--weight", 0.4)
    ((path, overlay),) = written(result, tmp_path).items()
    assert path == "pictures/gradcam_test2.png"
    assert result.stdout.startswith("0.8723  class 1\n0.1277  class 0\n")
    assert overlay.shape == (217, 287, 3)
    np.testing.assert_array_less(opened(photo), overlay + 1.5)  # no pixel is darker than in the photograph


def test_gradcam_of_a_channel(jaxviz, tmp_path, photograph):
    result = jaxviz("gradcam", "vgg16_demo", photograph, "--target", "block2_conv1:5", "--layer", "block1_conv2")
    (overlay,) = written(result, tmp_path).values()
    assert overlay.shape == (300, 451, 3)


def test_attribute_draws_by_every_method(jaxviz, tmp_path, cats_and_dogs_file):
    options = ("--samples", 2, "--steps", 3, "--window", 128, "--stride", 128, "--composite", "epsilon_gamma_box")
    named = [word for name in GENERAL for word in ("--method", name)]
    result = jaxviz("attribute", cats_and_dogs_file, cats_and_dogs_file.with_name("test2.jpeg"), *named, *options)
    pictures = written(result, tmp_path)
    assert list(pictures) == [f"pictures/{name}_test2.png" for name in GENERAL]
    assert all(picture.std() > 5 for picture in pictures.values())
    assert result.stdout.startswith("0.8723  class 1\n0.1277  class 0\n")
    assert "\ngradient: target 1, score 1.9218\n" in result.stdout
    assert re.search(
        r"integrated_gradients: target 1, score 1.9218; the map sums to the gain over the baseline within \d+\.\d\d%\n",
        result.stdout,
    )
    assert result.stderr == ""


def test_attribute_at_several_layers_with_its_sign(jaxviz, tmp_path, cats_and_dogs_file, photograph):
    run = ("attribute", cats_and_dogs_file, photograph, "--layer", "conv2d_12", "--layer", "conv2d_13")
    (without,) = written(jaxviz(*run), tmp_path).values()
    (signed,) = written(jaxviz(*run, "--no-relu"), tmp_path).values()
    assert signed.shape[1] > without.shape[1]  # the colour bar


def test_attribute_of_a_channel(jaxviz, tmp_path, photograph):
    run = ("attribute", "vgg16_demo", photograph, "--target", "block1_conv2:5", "--method", "gradient")
    result = jaxviz(*run)
    assert list(written(result, tmp_path)) == ["pictures/gradient_chelsea_block1_conv2_5.png"]
    assert result.stdout.startswith("gradient: target block1_conv2:5, score ")


@pytest.mark.parametrize("command", ["gradcam", "attribute"])
def test_a_blank_map_is_one_line(jaxviz, tmp_path, cats_and_dogs_file, command):
    photo = cats_and_dogs_file.with_name("test2.jpeg")
    result = jaxviz(command, cats_and_dogs_file, photo, "--target", "conv2d_14:0")  # a channel that is dead
    assert len(written(result, tmp_path)) == 1
    assert result.stderr.startswith("jaxviz: the map is all zero: the score does not move. ")
    assert result.stderr.count("\n") == 1


def test_a_warning_is_one_line(jaxviz):
    options = ("--recipe", "chollet", "--steps", 2, "--size", 16)
    result = jaxviz("filters", "vgg16_demo", "--layer", "block1_conv1", "--channel", "5", *options)
    assert result.exit_code == 0
    assert result.stderr.startswith("jaxviz: 1 of 1 objectives do not move, so their images are still the start")
    assert result.stderr.count("\n") == 1


def test_other_warnings_stay_what_they_are(jaxviz, monkeypatch):
    monkeypatch.setattr(jv, "load", lambda *_, **__: warnings.warn("of another kind", stacklevel=2))
    with pytest.raises(UserWarning, match="of another kind"):  # warnings are errors in the tests
        jaxviz("filters", "vgg16_demo")


@pytest.mark.slow
def test_demo(jaxviz, tmp_path):
    """The quick demo is run by test_wheel.py."""
    result = jaxviz("demo", "--out", "page")
    assert result.exit_code == 0
    check(tmp_path / "page", result.stdout, demo.FULL)


@pytest.mark.parametrize("name", GENERAL)
def test_demo_derives_from_each_method(name):
    """A method says what it shows in the first line of its docstring, and takes the options that the demo chooses."""
    method = METHODS[name]
    options = demo.settings(method)
    inspect.signature(method).bind("model", "image", "target", **options)
    caption = demo.caption(name, method, options)
    assert caption.startswith(f"{name}: ")
    assert inspect.getdoc(method).splitlines()[0][-20:].replace("`", "") in caption
    assert all(f"{option} {value}" in caption for option, value in options.items())


def test_demo_takes_a_method_that_it_does_not_know():
    def new_cam(model, image, target=None, *, layer=None, samples=9, batch=32):
        """An `Attribution` with a map `[h w]`: the regions of `image` that are new.

        More words.
        """

    options = demo.settings(new_cam)
    assert options == {"layer": "block5_conv2", "samples": 4}
    assert demo.caption("new_cam", new_cam, options) == (
        "new_cam: the regions of image that are new. Here: layer block5_conv2, samples 4 (9 by default)."
    )
    new_cam.__module__ = "jaxviz.attribution.perturbation"
    assert demo.settings(new_cam) == {"layer": "block2_conv2", "samples": 64}


BAD = {
    "no such file": (["filters", "missing.h5"], "missing.h5"),
    "no such name": (["filters", "vgg61"], "vgg16_demo"),
    "not HDF5": (["filters", "{text}"], "notes.h5"),
    "a folder": (["filters", "{folder}"], ""),
    "truncated": (["filters", "{truncated}"], "half.h5"),
    "architecture of a full model": (["filters", "{file}", "--architecture", "vgg16_notop"], "full model"),
    "unknown architecture": (["filters", "{file}", "--architecture", "vgg61"], "did you mean 'vgg19' or 'vgg16'"),
    "no such graph": (
        ["filters", "{file}", "--architecture", "my.json"],
        "my.json is not there; expected the .json file of an architecture",
    ),
    "weight above 1": (["gradcam", "{file}", "{photo}", "--weight", "7"], "0<=x<=1"),
    "unknown layer": (["filters", "{file}", "--layer", "conv2d_15"], "did you mean conv2d_1"),
    "no maps": (["filters", "{file}", "--layer", "dense_8"], "dense_8"),
    "channel out of range": (["filters", "{file}", "--channel", "16"], "0 to 15"),
    "canvas too small": (["filters", "{file}", "--size", "8"], "at least"),
    "nothing left of the picture": (["filters", "{file}", "--recipe", "keras_io", "--size", "50"], "25 pixels"),
    "no steps": (["filters", "{file}", "--steps", "0"], "--steps"),
    "no such photograph": (["activations", "{file}", "missing.jpg"], "missing.jpg"),
    "not a photograph": (["activations", "{file}", "{text}"], "is not an image"),
    "photograph forgotten": (["activations", "{file}"], "jaxviz activations --help"),
    "unknown layer of activations": (["activations", "{file}", "{photo}", "--layer", "conv"], "its layers are"),
    "channel of activations": (["activations", "{file}", "{photo}", "--channel", "20"], "0 to 15"),
    "unknown class": (["gradcam", "{file}", "{photo}", "--target", "2"], "classes 0 and 1"),
    "negative class": (["gradcam", "{file}", "{photo}", "--target", "-1"], "classes 0 and 1"),
    "class names": (["gradcam", "{file}", "{photo}", "--target", "cat"], "class number or LAYER:CHANNEL; given: 'cat'"),
    "layer of the target": (["gradcam", "{file}", "{photo}", "--target", "conv2d:3"], "did you mean"),
    "channel of the target": (["gradcam", "{file}", "{photo}", "--target", "conv2d_14:99"], "0 to 15"),
    "no classes": (["gradcam", "vgg16_demo", "{photo}"], "--target"),
    "layer without maps": (["gradcam", "{file}", "{photo}", "--layer", "dense_8"], "dense_8"),
    "colour map": (["gradcam", "{file}", "{photo}", "--cmap", "virdis"], "viridis"),
    "unknown method": (["attribute", "{file}", "{photo}", "--method", "gradcam"], "did you mean grad_cam"),
    "option of another method": (["attribute", "{file}", "{photo}", "--window", "9"], "option of occlusion"),
    "window": (["attribute", "{file}", "{photo}", "--method", "occlusion", "--window", "300"], "fits into the image"),
    "composite": (["attribute", "{file}", "{photo}", "--method", "lrp", "--composite", "zplus"], "epsilon_plus"),
    "unknown layer of a CAM": (["attribute", "{file}", "{photo}", "--layer", "conv2d_15"], "did you mean conv2d_1"),
    "unknown class to attribute": (["attribute", "{file}", "{photo}", "--target", "2"], "classes 0 and 1"),
    "nothing to attribute": (["attribute", "vgg16_demo", "{photo}"], "--target"),
    "a layer above the target": (
        ["attribute", "{file}", "{photo}", "--target", "conv2d_12:0", "--layer", "conv2d_14"],
        "does not depend on conv2d_14",
    ),
    "out is a file": (["gradcam", "{file}", "{photo}", "--out", "{text}"], "notes.h5"),
    "unknown command": (["grad-cam", "{file}"], "grad-cam"),
    "unknown option": (["filters", "{file}", "--stpes", "3"], "--steps"),
    "unknown option before the command": (["--stpes"], "--stpes"),
}


def test_an_option_that_takes_one_value_is_given_once(jaxviz, cats_and_dogs_file):
    result = jaxviz("gradcam", cats_and_dogs_file, "cat.jpg", "--target", 0, "--target", 1)
    assert result.exit_code == 2
    sentence = "--target is given more than once, and takes one value. See: jaxviz gradcam --help"
    assert result.stderr == f"jaxviz: {sentence}\n"


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_status_2(jaxviz, tmp_path, cats_and_dogs_file, arguments, says):
    places = {
        "file": cats_and_dogs_file,
        "photo": cats_and_dogs_file.with_name("test1.jpeg"),
        "folder": tmp_path,
        "text": tmp_path / "notes.h5",
        "truncated": tmp_path / "half.h5",
    }
    places["text"].write_bytes(b"not what you think")
    places["truncated"].write_bytes(cats_and_dogs_file.read_bytes()[:100_000])
    result = jaxviz(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith("jaxviz: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert not list(tmp_path.rglob("*.png"))


def test_advice_is_for_the_command_line():
    for python, here in {
        "name the layer, layer=…": "name the layer, --layer …",
        "relu=False shows it with its sign": "--no-relu shows it with its sign",
        "pass architecture='vgg16'.": "pass --architecture 'vgg16'.",
        'inputs="unit", or pass `inputs=`': '--inputs "unit", or pass `--inputs`',
        "another baseline=… may show something": "another baseline=… may show something",  # no option of a command
    }.items():
        assert main.advise(python) == here
    python = 'relu="pre", or another key= or size= may do'
    assert main.advise(python, "filters") == 'relu="pre", or another key= or --size may do'  # filters has no --relu


def test_weights_without_an_architecture(jaxviz, tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.create_group("dense").attrs["weight_names"] = [b"kernel:0"]
        file["dense/kernel:0"] = np.zeros((5, 4), np.float32)
    result = jaxviz("filters", "weights.h5")
    assert result.exit_code == 2
    assert '--architecture "my.json"' in result.stderr


def test_weights_of_another_architecture_are_listed(jaxviz, tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1"]
        file.create_group("block1_conv1").attrs["weight_names"] = [b"kernel:0"]
        file["block1_conv1/kernel:0"] = np.zeros((5, 5, 3, 64), np.float32)
    result = jaxviz("filters", "weights.h5", "--architecture", "vgg16_notop")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "weights.h5" in result.stderr
    assert "(5, 5, 3, 64)" in result.stdout
    assert "block5_conv3" in result.stdout


def test_a_bug_is_not_bad_input(jaxviz, monkeypatch):
    monkeypatch.setattr(jv, "load", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        jaxviz("filters", "vgg16_demo")


def test_the_program_itself(tmp_path):
    command = [sys.executable, "-c", "from jaxviz.cli.commands import main; main()", "filters", "missing.h5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "missing.h5" in done.stderr


def test_a_missing_package_is_named_with_its_distribution():
    with pytest.raises(ImportError, match=r"no_such_package is not installed: pip install no-such-package$"):
        demo.package_file("no_such_package", "cat.png", "no-such-package")


def test_own_layers_and_photographs_that_lie_on_their_side(jaxviz, tmp_path, photograph):
    """`--custom` names the code that a file cannot bring; `--upright` turns a photograph as the camera was held."""
    import keras

    image = keras.Input((16, 24, 1))
    x = keras.layers.Lambda(lambda x: x, name="same")(keras.layers.Conv2D(2, 3, activation="relu")(image))
    keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x))).save(tmp_path / "m.keras")
    (tmp_path / "my_cli_layers.py").write_text("def same(x): return x")
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(photograph) as picture:
        picture.resize((32, 20)).save(tmp_path / "cat.jpg", exif=turned)
    assert "--custom MODULE:NAME" in jaxviz("gradcam", "m.keras", "cat.jpg").output
    own = ("--custom", "my_cli_layers:same", "--target", 1)
    result = jaxviz("gradcam", "m.keras", "cat.jpg", *own)
    assert re.search(r"jaxviz: '.*cat.jpg' has an EXIF orientation.* --upright turns it", result.stderr)
    sizes = {}
    for flag in ("--upright", "--no-upright"):
        result = jaxviz("attribute", "m.keras", "cat.jpg", *own, flag, "--out", flag.strip("-"))
        assert result.exit_code == 0
        assert "orientation" not in result.stderr
        sizes[flag] = opened(tmp_path / flag.strip("-") / "grad_cam_cat_1.png").shape[:2]
    assert sizes["--upright"][0] > sizes["--upright"][1]
    assert sizes["--no-upright"][0] < sizes["--no-upright"][1]


def test_pixels_of_a_flat_image_are_drawn_as_a_picture(jaxviz, tmp_path, photograph):
    layers = keras.layers
    rows = [keras.Input((36,)), layers.Reshape((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)]
    keras.Sequential(rows).save(tmp_path / "flat.keras")
    pictures = written(jaxviz("attribute", "flat.keras", photograph, "--method", "gradient", "--target", 0), tmp_path)
    assert len(pictures) == 1
