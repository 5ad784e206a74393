"""Strictness for every test: no silent promotion of dtypes or ranks, no key used twice, two CPU devices."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import psutil
import pytest

from support import sampling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import WorkStealingScheduling

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def double_precision():
    """Run a test in 64 bit; a whole file asks for it with ``pytest.mark.usefixtures``."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def one_segment_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each call of a sweep train one segment, so that it does not depend on the clock what an interrupt finds."""
    monkeypatch.setattr("regopt.sweep.engine._repeat.SECONDS", 0.0)


@pytest.fixture(scope="module", autouse=True)
def _programs_are_freed() -> Iterator[None]:
    """Free the compiled programs after a file, where those of many files would fill the memory of a small machine."""
    yield
    if psutil.Process().memory_info().rss > 4e9:
        jax.clear_caches()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "WorkStealingScheduling | None":
    """Give each worker tests that follow each other, which share fixtures and programs, unless ``--dist`` is given."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


def pytest_report_header() -> str:
    """Print the seed, with which a run can be repeated."""
    return f"sample of the laws: REGOPT_SAMPLE_SEED={sampling.SEED}"


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked ``long`` unless asked for, and doctests, whose output is in 32 bit, under x64.

    Of the cells of a test marked ``sampled(n)`` one in n is drawn by the seed, under x64 one in 2n and other ones; the
    rest are ``long``. With ``-m`` all of them are.
    """
    x64 = jax.config.read("jax_enable_x64")
    if x64:
        items[:] = [item for item in items if not isinstance(item, pytest.DoctestItem)]
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is None:
            continue
        share = sampled.args[0] * (2 if x64 else 1)
        if config.option.markexpr or not sampling.drawn(f"{item.name} {x64}", share):
            item.add_marker("long")
    if config.option.markexpr:
        return
    items[:] = [item for item in items if "long" not in item.keywords]
