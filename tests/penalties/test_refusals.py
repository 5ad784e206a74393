"""What penalties and projections are given and cannot use: complex parameters, lists of penalties."""

import jax
import jax.numpy as jnp
import optax
import pytest

import regopt
from regopt import penalties, projections

COMPLEX = {"kernel": jnp.array([[3 + 4j, 1j], [2 + 0j, 0.5]])}
PENALTIES = {
    name: getattr(penalties, name)
    for name in ("l1", "l2", "huber", "l2_norm", "group_lasso", "sparse_group_lasso", "exclusive_lasso", "sorted_l1")
    + ("mcp", "scad", "log_sum", "l0", "nuclear", "spectral_norm", "orthogonality", "total_variation")
}
PROJECTIONS = ("l2_ball", "l1_ball", "l12_ball", "group_balls", "max_norm", "linf_ball", "non_negative", "simplex")


@pytest.mark.parametrize("name", PENALTIES)
def test_complex_parameters_have_neither_a_value_nor_a_prox(name):
    penalty = PENALTIES[name](0.5)
    functions = [penalty.value] + [lambda params: penalty.prox(params, 1.0)] * penalty.has_prox
    for function in functions:
        with pytest.raises(ValueError, match="complex parameters are not supported here"):
            function(COMPLEX)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_complex_parameters_have_no_projection(name):
    with pytest.raises(ValueError, match="complex parameters are not supported here"):
        getattr(projections, f"projection_{name}")(COMPLEX)


@pytest.mark.parametrize("how", ["gradient", "decoupled", "proximal"])
def test_complex_parameters_of_a_regularised_optimizer_are_refused_before_the_first_step(how):
    with pytest.raises(ValueError, match="complex parameters are not supported here"):
        regopt.regularize(regopt.sgd(0.1), penalties.l1(0.5), how).init(COMPLEX)


@pytest.mark.parametrize("given", [[penalties.l1(0.1), penalties.l2(0.1)], (penalties.l1(0.1), penalties.l2(0.1))])
def test_a_list_of_penalties_is_refused_in_one_line_with_the_fix(given):
    with pytest.raises(
        ValueError, match=r"total takes its penalties one by one, got a list: write total\(\*penalties\)"
    ):
        penalties.total(given)


def test_the_numbers_of_the_sorted_l1_norm_may_be_schedules():
    params = {"kernel": jnp.array([[3.0, -2.0], [0.5, 1.0]])}
    penalty = penalties.sorted_l1(optax.linear_schedule(0.0, 1.0, 10))
    found, wanted = penalty.at(jnp.array(5)), penalties.sorted_l1(0.5)
    assert jnp.array_equal(found.prox(params, 1.0)["kernel"], wanted.prox(params, 1.0)["kernel"])
    assert jax.eval_shape(regopt.regularize(regopt.sgd(0.1), penalty, "proximal").init, params).count.shape == ()
