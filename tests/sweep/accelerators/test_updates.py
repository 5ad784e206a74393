"""The update of an optimizer over lanes is one kernel for each array of parameters; it is compiled and never run."""

import jax
import jax.numpy as jnp
import optax
import pytest

from regopt.sweep.accelerators._cost import kernels, training_loop, transposes
from regopt.sweep.accelerators._hlo import parse
from regopt.testing import CATALOGUE
from support.compile_only import devices_of

LANES, STEPS = 256, 3
LAYERS = [(64, 128), (128, 64), (64, 10)]
ROWS = [row for row in CATALOGUE if row.is_optimizer and row.factory.__module__.startswith("regopt.optimizers.")]
THREE = {"adadelta"}  # a TPU does not fuse its two safe roots and their safe quotient


@pytest.mark.sampled(15)
@pytest.mark.parametrize("platform", ["tpu", pytest.param("cuda", marks=pytest.mark.long)])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
def test_an_update_is_one_kernel_for_each_array(row, platform):
    of_arrays, moved = update_kernels(row, platform)
    arrays = 2 * len(LAYERS)
    assert of_arrays <= (3 * arrays if platform == "tpu" and row.label in THREE else arrays)
    assert moved == []


def update_kernels(row, platform):
    """The kernels that write an array of parameters or of a state in a loop of updates, and its transposes."""
    device = jax.sharding.SingleDeviceSharding(devices_of(platform)[0])

    def shapes(*shape):
        return jax.ShapeDtypeStruct((LANES, *shape), jnp.float32, sharding=device)

    def update(params, state, grads, numbers):
        updates, state = row.make(**numbers).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def train(grads, params, state, numbers):
        def step(_, carry):
            return jax.vmap(update)(*carry, grads, numbers)

        return jax.lax.fori_loop(0, STEPS, step, (params, state))

    params = [{"kernel": shapes(*sizes), "bias": shapes(sizes[1])} for sizes in LAYERS]
    numbers = {name: shapes() for name in row.numbers}
    state = jax.eval_shape(jax.vmap(lambda params, numbers: row.make(**numbers).init(params)), params, numbers)
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), state)
    given = params, params, state, numbers  # gradients have the shapes of parameters
    module = parse(jax.jit(train, donate_argnums=(1, 2)).lower(*given).compile().as_text())
    body = training_loop(module, STEPS)
    found = sum(
        times
        for times, _, kernel in kernels(module, body)
        if not kernel.opcode.endswith("-start")  # what a TPU reads ahead while it computes, and puts together
        and "ConcatBitcast" not in kernel.rest
        and any(len(array.shape) > 1 for array in kernel.results)
    )
    return found, list(transposes(module, body))
