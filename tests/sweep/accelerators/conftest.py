"""What all tests of programs for absent devices need."""

import jax
import pytest


@pytest.fixture(autouse=True)
def nothing_is_cached():
    """JAX cannot read what it has compiled for an absent device, and warns."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
