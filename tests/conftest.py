"""Strictness for every test: no silent promotion of dtypes or ranks, no key used twice, two CPU devices."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked ``long`` unless asked for, and doctests, whose output is in 32 bit, under x64."""
    if jax.config.read("jax_enable_x64"):
        items[:] = [item for item in items if not isinstance(item, pytest.DoctestItem)]
    if config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="long; run with -m long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)
