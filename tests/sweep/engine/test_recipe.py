"""The reports of the calls of a program."""

import jax.numpy as jnp
import numpy as np

from regopt.sweep.engine._recipe import one_behind


def test_each_call_is_reported_without_its_padding_once_the_next_one_is_launched():
    order = []

    def launched():
        for call in range(3):
            order.append(f"launch {call}")
            yield np.array([2 * call, -1, 2 * call + 1]), {"loss": 10.0 * call + jnp.arange(3.0)}

    for call, (owners, seats, outcome) in enumerate(one_behind(launched())):
        order.append(f"report {call}")
        assert owners.tolist() == [2 * call, 2 * call + 1]
        assert seats.tolist() == [0, 2]
        assert outcome["loss"].tolist() == [10 * call, 10 * call + 2]
    assert order == ["launch 0", "launch 1", "report 0", "launch 2", "report 1", "report 2"]
    assert list(one_behind([])) == []
