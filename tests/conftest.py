"""Strictness for every test: no silent promotion of dtypes or ranks, no key used twice, two CPU devices."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked ``long`` unless a marker expression was given."""
    if config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="long; run with -m long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)
