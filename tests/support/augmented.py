"""What the tests of augmentation share: images, every transform with a usual strength, and the draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from regopt import augment

IMAGES = np.random.default_rng(3).random((4, 7, 6, 3))
STRENGTHS = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "translation": 1.3,
    "scaling": 0.4,
    "rotation": 50.0,
    "shear": 0.4,
    "crop_and_scale": 0.6,
    "brightness": 0.3,
    "contrast": 0.4,
    "saturation": 0.5,
    "hue": 0.3,
    "cutout": 3.0,
    "additive_noise": 0.2,
    "multiplicative_noise": 0.3,
}
TRANSFORMS = {name: getattr(augment, name) for name in STRENGTHS}


# for programs that run once: without it LLVM takes seconds over their random numbers
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def key(seed=0):
    return jax.random.key(seed)


def drawn(*shape):
    """The draws from [-1, 1) of each example, in double precision."""
    return np.asarray(jax.random.uniform(key(), (len(IMAGES), *shape), jnp.float64, -1, 1))
