"""Early stopping against Algorithm 7.1 written out, and inside scan and vmap."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.training import early_stopping


def algorithm_7_1(errors, patience, n):
    """Goodfellow et al. (2016), Algorithm 7.1, on a list of validation errors; the parameters are their place."""
    i, j, v, theta, i_best, reads = 0, 0, np.inf, -1, 0, 0
    while j < patience and reads < len(errors):
        i += n
        error, reads = errors[reads], reads + 1
        if error < v:
            j, theta, i_best, v = 0, reads - 1, i, error
        else:
            j += 1
    return theta, i_best, v, j >= patience


def run(errors, patience, every, mode="min"):
    """The same through the state machine, in a scan over all errors."""
    rule = early_stopping(patience, every, mode=mode)

    def step(state, at):
        place, error = at
        return rule.update(state, place, error), state.stop

    places = jnp.arange(len(errors), dtype=jnp.int32)
    return jax.lax.scan(step, rule.init(jnp.int32(-1)), (places, jnp.asarray(errors, jnp.float32)))[0]


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.integers(0, 6), min_size=12, max_size=12), st.integers(0, 5), st.integers(1, 9))
def test_the_state_machine_is_algorithm_7_1(errors, patience, n):
    state = jax.jit(run)(errors, jnp.float32(patience), jnp.float32(n))
    theta, best_step, best, stop = algorithm_7_1(errors, patience, n)
    assert (int(state.best_params), int(state.best_step), float(state.best_metric)) == (theta, best_step, best)
    assert bool(state.stop) == stop


def test_equal_is_no_improvement_and_neither_is_nan():
    assert bool(run([2.0, 2.0, 2.0], 2, 10).stop)
    state = run([2.0, np.nan, np.nan, 1.0], 2, 10)
    assert bool(state.stop)
    assert int(state.best_step) == 10


def test_nothing_changes_after_the_stop():
    state = run([2.0, 3.0, 3.0, 1.0, 0.5], 2, 10)
    assert (int(state.best_step), float(state.best_metric), int(state.step)) == (10, 2.0, 30)


def test_a_larger_metric_may_be_better():
    state = run([0.2, 0.6, 0.5, 0.7, 0.1], 3, 10, mode="max")
    assert (int(state.best_step), float(state.best_metric)) == (40, pytest.approx(0.7))


def test_patience_is_a_lane():
    errors = [3.0, 2.0, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5]
    states = jax.vmap(lambda patience: run(errors, patience, 5))(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(states.best_step, [10, 10, 25])
    np.testing.assert_array_equal(states.step, [15, 20, 40])


def test_errors_name_argument_range_and_value():
    with pytest.raises(ValueError, match=r"patience must lie in \[0, inf\), got -1"):
        early_stopping(-1)
    with pytest.raises(ValueError, match=r"every must lie in \[1, inf\), got 0"):
        early_stopping(3, 0)
    with pytest.raises(ValueError, match=r"every must be a whole number, got 2\.5"):
        early_stopping(3, 2.5)
    with pytest.raises(ValueError, match='mode must be "min" or "max", got \'best\''):
        early_stopping(3, mode="best")  # pyright: ignore


def test_a_first_state_may_be_donated_and_leaves_the_parameters_alone():
    rule, params = early_stopping(2), jnp.ones(3)
    state = jax.jit(rule.update, donate_argnums=0)(rule.init(params), params, jnp.float32(1.0))
    np.testing.assert_array_equal(state.best_params, 1)
    assert not params.is_deleted()
