"""A poisoned lane, whatever the optimizer: marked with its first bad step, and no bit of another lane changes.

One program for each optimizer and width. Each of its calls trains one block of lanes, and the blocks are alike but for
the poison in their first lane: a learning rate or an example that is NaN, infinite or huge.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import regopt
from regopt import optimizers, sweep
from regopt.data import Splits, batch_indices
from regopt.layers import MLP
from regopt.losses import squared_error
from support.every_optimizer import FIRST_ORDER, SECOND_ORDER

RNG = np.random.default_rng(0)
EXAMPLES, BATCH, STEPS, EVERY, MARKED = 12, 4, 9, 3, 7
X = RNG.normal(size=(EXAMPLES, 3)).astype(np.float32)
Y = (X @ RNG.normal(size=(3, 1))).astype(np.float32)
IDS = np.arange(EXAMPLES, dtype=np.int32)
DATA = Splits(((X, IDS), Y), ((X, IDS), Y))


def blocks(width, name):
    """The columns of all blocks, the first one clean."""
    bad = (np.nan, np.inf, 1e30)  # the square of the last is infinite in float32, in which the network is
    rates = [] if name in SECOND_ORDER else bad
    poisons = [(None, None), *((rate, None) for rate in rates), *((None, size) for size in bad)]
    rate = np.tile(np.geomspace(1e-3, 1e-1, width), (len(poisons), 1))
    size = np.ones_like(rate)
    for block, (bad_rate, bad_size) in enumerate(poisons):
        rate[block, 0] = rate[block, 0] if bad_rate is None else bad_rate
        size[block, 0] = 1.0 if bad_size is None else bad_size
    return poisons, {"rate": rate.ravel(), "size": size.ravel()}


def task_of(name):
    """A small network; the marked example is multiplied by the setting's size when it is trained on."""

    class Network(MLP):
        def __call__(self, x):
            return super().__call__(x[0])

    def augment(key, x, y, h):
        values, ids = x
        size = jnp.where(ids == MARKED, h["size"], 1.0).astype(values.dtype)
        return (values * size[:, None], ids), y

    optimizer = (FIRST_ORDER | SECOND_ORDER)[name]
    return sweep.supervised(
        lambda h, rngs: Network((3, 4, 1), rngs=rngs), squared_error, lambda h: optimizer(h["rate"]), augment=augment
    )


def first_bad_step(name, bad_rate, batch_size):
    """When a poisoned lane is to be noticed: a rate in the loss after the first move, an example when it comes."""
    if bad_rate is None:
        order = batch_indices(jax.random.fold_in(jax.random.key(0), 1), 0, STEPS, examples=EXAMPLES, batch_size=BATCH)
        return 1 if batch_size is None else 1 + int(np.argmax(np.any(np.asarray(order) == MARKED, axis=1)))
    if name == "guard" and not np.isfinite(bad_rate):
        return 0  # no step with it is taken
    # accumulate moves at every second step; sam, which is given the loss as a function, at every one
    return {"accumulate": 3}.get(name.split(",")[0], 2)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("width", [8, 64])
@pytest.mark.parametrize("name", [*FIRST_ORDER, *SECOND_ORDER])
def test_a_poisoned_lane_is_marked_and_changes_no_bit_of_the_others(name, width):
    poisons, columns = blocks(width, name)
    batch_size = None if name in SECOND_ORDER else BATCH
    with jax.debug_key_reuse(name not in SECOND_ORDER):  # a line search evaluates a loss with one key many times
        result = sweep.run(
            task_of(name),
            sweep.from_columns(columns),
            DATA,
            steps=STEPS,
            eval_every=EVERY,
            batch_size=batch_size,
            chunk=width,
            devices=jax.devices()[:1],
        )
    rows = np.arange(len(result.status)).reshape(len(poisons), width)
    np.testing.assert_array_equal(
        result.history.seats[rows[:, 1:], 0] % width, np.tile(np.arange(1, width), (len(poisons), 1))
    )
    assert set(result.status[rows[:, 1:]].ravel()) == {"done"}
    for curve in result.history.curves.values():
        for row in rows[1:]:
            np.testing.assert_array_equal(curve[row[1:]], curve[rows[0, 1:]])
    for lane in {1, width // 2, width - 1}:
        clean, *others = (jax.tree.leaves(result.state(int(row))) for row in rows[:, lane])
        for other in others:
            for a, b in zip(clean, other, strict=True):
                np.testing.assert_array_equal(a, b)
    expected = [0, *(first_bad_step(name, rate, batch_size) for rate, _ in poisons[1:])]
    np.testing.assert_array_equal(result.history.first_bad_step[rows[:, 0]], expected)
    np.testing.assert_array_equal(result.status[rows[:, 0]] == "diverged", np.array(expected) > 0)


def test_every_named_optimizer_is_there():
    named = set(optimizers.__all__) & set(regopt.__all__)
    assert named - {"gauss_newton", "levenberg_marquardt"} <= set(FIRST_ORDER) | set(
        SECOND_ORDER
    )  # these want residuals
