"""Random image augmentations ``transform(key, images)`` that preserve the label, with strengths that may be traced.

A factory takes a strength and returns a function of a key and of images ``[batch, height, width, channels]``, whose
floating dtype is preserved. Each example has a draw of its own, which depends neither on the strength nor on the number
of examples that follow, so the lanes of a ``vmap`` that share a key share the draws. A key is used once. A strength of
0 returns the images unchanged, bit for bit. For fixed draws, derivatives with respect to the strength are finite.
Values are not clipped.
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
