"""Augmentation, exercised as noise on small images; in other dtypes the same draws."""

from regopt import augment
from regopt.testing._row import Row


def on_images(transform, channels=1):
    """The transform on the input as two images of 4 x 3 pixels, or 4 x 1 in colours within [0, 1]."""

    def apply(key, x):
        images = (x / 8 + 0.5).reshape(1, 4, 3 // channels, channels)
        return transform(key, images.repeat(2, axis=0))

    return apply


def row(factory, values, ends, name="strength", channels=1):
    """A row of a transform that has one number."""
    return Row(
        factory,
        "noise",
        {name: values},
        {name: ends},
        build=lambda **numbers: on_images(factory(**numbers), channels),
    )


def mixed(strength):
    """Inputs and targets, the inputs themselves."""
    return lambda key, x: augment.mixup(strength)(key, x, x)


ROWS = [
    row(augment.flip_horizontal, (0.4, 0.95), (0.0, 1.0), "probability"),
    row(augment.flip_vertical, (0.4, 0.95), (0.0, 1.0), "probability"),
    row(augment.translation, (1.3, 0.6), (0.0,)),
    row(augment.scaling, (0.4, 0.15), (0.0,)),
    row(augment.rotation, (50.0, 20.0), (0.0, 180.0)),
    row(augment.shear, (0.4, 0.15), (0.0,)),
    row(augment.crop_and_scale, (0.6, 0.3), (0.0, 1.0)),
    row(augment.brightness, (0.3, 0.1), (0.0,)),
    row(augment.contrast, (0.4, 0.15), (0.0, 1.0)),
    row(augment.saturation, (0.5, 0.2), (0.0, 1.0), channels=3),
    row(augment.hue, (0.3, 0.1), (0.0, 0.5), channels=3),
    row(augment.cutout, (3.0, 1.0), (0.0,)),
    row(augment.additive_noise, (0.2, 0.7), (0.0,)),
    row(augment.multiplicative_noise, (0.3, 0.7), (0.0,)),
    Row(augment.mixup, "noise", {"strength": (0.4, 3.0)}, {"strength": (0.0,)}, build=mixed),
    Row(
        augment.compose,
        "noise",
        {"degrees": (50.0, 20.0), "pixels": (1.3, 0.6)},
        {"degrees": (0.0,), "pixels": (0.0,)},
        build=lambda degrees, pixels: on_images(
            augment.compose(augment.brightness(0.1), augment.rotation(degrees), augment.translation(pixels))
        ),
    ),
    Row(
        augment.sometimes,
        "noise",
        {"probability": (0.4, 0.02)},
        {"probability": (0.0, 1.0)},
        build=lambda probability: on_images(augment.sometimes(augment.brightness(0.3), probability)),
    ),
]
