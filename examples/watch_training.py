"""What does a network see while it learns? Pictures of a small CNN in TensorBoard, every few steps of its training.

    python examples/watch_training.py                               # scikit-learn's digits
    python examples/watch_training.py --cifar cifar-10-batches-bin  # CIFAR-10, "binary version", unpacked
    tensorboard --logdir examples/out/watch_training                # the tab "Images"

The network is the one of MachineCurve's article on tf-explain's callbacks: Conv 32, 64, 128, Dense 128, Dense 10.
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxviz as jv

OUT = Path(__file__).parent / "out"


class ConvRelu(nnx.Module):
    """A convolution and its ReLU as one layer, so that the activation under its name is the one after the ReLU."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.conv = nnx.Conv(inputs, outputs, (3, 3), padding="VALID", rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.conv(x))


class Net(nnx.Module):
    def __init__(self, size: int, channels: int, rngs: nnx.Rngs):
        self.conv1 = ConvRelu(channels, 32, rngs)
        self.conv2 = ConvRelu(32, 64, rngs)
        self.conv3 = ConvRelu(64, 128, rngs)
        self.dense = nnx.Linear((size - 6) ** 2 * 128, 128, rngs=rngs)  # each convolution takes a pixel off each side
        self.classes = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        x = self.conv3(self.conv2(self.conv1(x)))
        return self.classes(nnx.relu(self.dense(x.reshape(len(x), -1))))


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = data.images.repeat(2, axis=1).repeat(2, axis=2) / 16  # 16 × 16 is enough for three convolutions
    return images[..., None].astype(np.float32), data.target


def cifar(folder: Path):
    """The images and labels of CIFAR-10. A record is a label, then 32 × 32 red, green and blue values.

    Unlike the Python version of CIFAR-10, these files are not pickled, so that reading them runs no code.
    """
    files = sorted(folder.glob("data_batch_*.bin"))
    if not files:
        raise SystemExit(f"no data_batch_1.bin in {folder}: unpack the binary version of CIFAR-10 there")
    records = np.concatenate([np.fromfile(path, np.uint8) for path in files]).reshape(-1, 1 + 3072)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float32) / 255, records[:, 0]


@nnx.jit
def train(net: Net, optimizer: nnx.Optimizer, images, labels):
    def loss(net):
        logits = net(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    (value, logits), gradient = nnx.value_and_grad(loss, has_aux=True)(net)
    optimizer.update(net, gradient)
    return value, (logits.argmax(-1) == labels).mean()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="the folder with data_batch_1.bin …; default: scikit-learn's digits")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--logdir", type=Path, default=OUT / "watch_training")
    args = parser.parse_args(arguments)

    images, labels = cifar(args.cifar) if args.cifar else digits()
    net = Net(*images.shape[2:], nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)
    model = jv.wrap(net, image_shape=images.shape[1:])
    shown, classes = images[:4], labels[:4].tolist()
    views = {f"activations/{name}": jv.views.Activations(shown[0], name) for name in ("conv1", "conv2", "conv3")}
    views["filters/conv2"] = jv.views.Filters(jv.channels(model, "conv2", range(16)))
    views["grad_cam"] = jv.views.Overlay(jv.grad_cam, shown, classes)

    order = np.random.default_rng(0)
    with jv.Monitor(jv.tensorboard(args.logdir), views, every=args.every) as monitor:
        for step in range(args.steps + 1):
            monitor(step, model, net)
            some = order.choice(len(images), 50)
            loss, accuracy = train(net, optimizer, jnp.asarray(images[some]), jnp.asarray(labels[some]))
            if step % args.every == 0:
                print(f"step {step:4}  loss {loss:.3f}  accuracy {accuracy:.2f}")


if __name__ == "__main__":
    main()
