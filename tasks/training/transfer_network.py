"""The network of the recipe `transfer`: a backbone pretrained on ImageNet, and a new head."""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
from keras import layers

from tasks.errors import BadInput, Momentary, PipelineError
from tasks.training.memory import ran_out
from tasks.training.network import JIT, augment, begin_anew, resized

# Share of the epochs in which only the new head learns; its first, random answers would spoil the
# backbone. Then the whole network learns in small steps (Keras's guide "Transfer learning &
# fine-tuning"), except batch normalization, which keeps the averages of ImageNet.
FROZEN_SHARE = 0.25
FINE_STEPS = 0.02  # of the learning rate
BACKBONE = "mobilenetv2"  # Sandler et al., CVPR 2018; 2.3 million parameters without its top


def transferred(image_size: int, classes: int, weights: bytes | None, seed: int) -> keras.Model:
    """MobileNetV2 with a new head, not compiled; see `transfer_phases`.

    Args:
        image_size: Side to which the network resizes its input, in pixels.
        classes: Number of outputs.
        weights: Content of an ``.h5`` file with the weights of the backbone without its top; None
            to let Keras fetch ImageNet's weights.
        seed: Seed of head, dropout and augmentation.

    Raises:
        BadInput: The weights do not fit.
        Momentary: The weights cannot be fetched.
    """
    begin_anew(seed)
    backbone = _pretrained(image_size, weights)
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    x = resized(image, image_size)
    x = layers.Rescaling(1 / 127.5, offset=-1)(augment(x, seed))  # as it was trained
    x = backbone(x, training=False)
    x = layers.Dropout(0.3, seed=seed + 3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x), name="transfer")


def _pretrained(image_size: int, weights: bytes | None) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        source = "imagenet"
        if weights is not None:
            path = Path(folder, "given.weights.h5" if _is_keras_3(weights) else "given.h5")
            path.write_bytes(weights)
            source = str(path)
        try:
            return keras.applications.MobileNetV2(
                include_top=False,
                weights=source,
                input_shape=(image_size, image_size, 3),
                name=BACKBONE,
            )
        except Exception as error:  # h5py, Keras and urllib each raise their own errors
            if ran_out(error):
                raise
            raise _without_weights(error, fetched=weights is None) from error


def _without_weights(error: Exception, *, fetched: bool) -> PipelineError:
    received = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    if fetched:
        return Momentary(
            f"ImageNet's weights cannot be fetched ({received}). Without access to the internet, "
            "put the file into the store and name its key in transfer_weights."
        )
    return BadInput(
        "The weights for transfer cannot be read.",
        expected="the weights of MobileNetV2 without its top, as Keras saves them (.h5)",
        received=received,
        do="name another file in transfer_weights",
    )


def _is_keras_3(weights: bytes) -> bool:
    """Whether `save_weights` of Keras 3 wrote the file; Keras tells the formats by their names."""
    try:
        with h5py.File(io.BytesIO(weights)) as file:
            return "layer_names" not in file.attrs
    except OSError:
        return False  # not HDF5 at all; Keras reports that itself


def transfer_phases(epochs: int, learning_rate: float) -> dict[int, Callable[[keras.Model], None]]:
    """The phases of training, by number of the first epoch: freeze the backbone, later free it."""

    def compiled(model: keras.Model, free: bool, rate: float) -> None:
        model.get_layer(BACKBONE).trainable = free
        model.compile(
            optimizer=keras.optimizers.Adam(rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=JIT,
        )

    return {
        0: lambda model: compiled(model, False, learning_rate),
        max(1, round(FROZEN_SHARE * epochs)): lambda model: compiled(
            model, True, FINE_STEPS * learning_rate
        ),
    }
