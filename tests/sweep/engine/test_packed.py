"""The numbers of the lanes of a call, packed for the way to the host."""

import jax
import jax.numpy as jnp
import numpy as np

from regopt import sweep
from regopt.sweep.engine._packed import Packed
from support.small_sweep import DATA, SCHEDULE, TASK


def test_what_is_packed_comes_back_to_the_bit():
    tree = {
        "loss": jnp.array([1.5, jnp.nan, -jnp.inf]),
        "stop": (jnp.array([3, -1, 2**31 - 1], jnp.int32),),
        "half": jnp.array([1e-8, -0.0, 2.0], jnp.float16),
        "accuracy": jnp.array([0.1, 0.2, 0.3]),
    }
    packed = jax.device_get(jax.jit(Packed.of)(tree))
    assert len(jax.tree.leaves(packed)) == 2  # an array of each size of numbers
    back = packed.unpacked()
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == np.asarray(b).tobytes()


def test_packed_arrays_are_unpacked_in_a_compiled_program():
    tree = {"loss": jnp.array([1.5, jnp.nan, 2.0**-149]), "stop": jnp.array([3, -1, 0], jnp.int32)}
    back = jax.jit(lambda tree: Packed.of(tree).unpacked())(tree)
    assert {name: (x.dtype, np.asarray(x).tobytes()) for name, x in back.items()} == {
        name: (x.dtype, np.asarray(x).tobytes()) for name, x in tree.items()
    }


def test_one_array_of_a_call_crosses_to_the_host(monkeypatch):
    crossed = []
    unpacked = Packed.unpacked

    def spy(packed):
        crossed.extend(map(type, jax.tree.leaves(packed)))
        crossed.append(len(jax.tree.leaves(packed)))
        return unpacked(packed)

    settings = sweep.from_columns({"learning_rate": np.geomspace(0.01, 0.1, 8), "weight_decay": np.zeros(8)})
    monkeypatch.setattr(Packed, "unpacked", spy)
    sweep.run(TASK, settings, DATA, **(SCHEDULE | {"chunk": 4, "patience": 5}))
    assert set(crossed) == {1, np.ndarray}
