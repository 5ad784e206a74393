"""Random changes of images that leave their labels true, ``transform(key, images)``, with strengths that may be traced.

A factory takes a strength and returns a function of a key and images ``[batch, height, width, channels]`` in any
floating dtype, which they keep. Each example has a draw of its own, the same whatever the strength and however many
examples follow, so lanes that share a key share the draws. A key is used once. A strength of 0 changes no bit, and
slopes in the strength (for fixed draws) are finite. Nothing is clipped.
"""

from regopt.augment._colour import brightness, contrast, hue, saturation
from regopt.augment._combine import compose, sometimes
from regopt.augment._geometry import (
    crop_and_scale,
    flip_horizontal,
    flip_vertical,
    rotation,
    scaling,
    shear,
    translation,
)
from regopt.augment._mixing import mixup
from regopt.augment._pixels import additive_noise, cutout, multiplicative_noise
from regopt.augment._rule import Transform

__all__ = [
    "Transform",
    "additive_noise",
    "brightness",
    "compose",
    "contrast",
    "crop_and_scale",
    "cutout",
    "flip_horizontal",
    "flip_vertical",
    "hue",
    "mixup",
    "multiplicative_noise",
    "rotation",
    "saturation",
    "scaling",
    "shear",
    "sometimes",
    "translation",
]
