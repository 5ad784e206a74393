"""What penalties and projections are given and cannot use: complex parameters, integers, lists of penalties."""

import jax
import jax.numpy as jnp
import optax
import pytest

import regopt
from regopt import penalties, projections
from regopt.testing import CATALOGUE

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


INTEGERS = {"kernel": jnp.array([[3, -1], [2, 5]]), "count": jnp.array(7)}
FLOATS = {"kernel": jnp.array([[3.0, -1.0], [2.0, 5.0]]), "count": jnp.array(7.0)}
ONLY = {"kernel": True, "count": False}


@pytest.mark.parametrize("row", [r for r in CATALOGUE if r.kind == "penalty"], ids=lambda row: row.label)
def test_integers_have_a_value_and_no_prox(row):
    whole = jnp.arange(12).reshape(3, 4) - 5
    penalty = row.make()
    assert jnp.array_equal(penalty.value(whole), penalty.value(whole.astype(jnp.float32)), equal_nan=True)
    if penalty.has_prox:
        with pytest.raises(
            ValueError, match=r"parameters must be floating arrays, got 'int32'( at 'first')?: convert the leaf"
        ):
            penalty.prox(whole, 1.0)
    if penalty.has_projection:
        with pytest.raises(
            ValueError, match=r"parameters must be floating arrays, got 'int32'( at 'first')?: convert the leaf"
        ):
            penalty.project(whole, 1.0)


@pytest.mark.parametrize("make", [penalties.exclusive_lasso, penalties.sorted_l1, penalties.total_variation])
@pytest.mark.parametrize("shape", [(3, 4), (1, 4)])
def test_what_has_one_strength_for_a_leaf_takes_none_for_each_entry_or_group(make, shape):
    penalty = make(jnp.ones(shape))
    for use in (penalty.value, lambda w: penalty.prox(w, 1.0)):
        with pytest.raises(ValueError, match=r"strength must be one number for a leaf of shape \(3, 4\), got shape"):
            use(jnp.ones((3, 4)))


ROW = (jnp.ones((1, 12)), jnp.ones(1))
ARGUMENTS = {
    "affine": ROW,
    "box": (0.0, 1.0),
    "box_section": (0.0, 1.0, 1.0, 3.0),
    "halfspace": ({"w": jnp.ones((3, 4))}, 1.0),
    "hyperplane": ({"w": jnp.ones((3, 4))}, 1.0),
    "intersection": ([projections.projection_simplex],),
    "polyhedron": (),
    "sparse_simplex": (2,),
    "vector": ({"w": jnp.ones((3, 4))},),
}
OF_TREES = [name for name in projections.__all__ if "transport" not in name and "birkhoff" not in name]


@pytest.mark.parametrize("name", OF_TREES)
def test_integers_have_no_projection(name):
    project, arguments = getattr(projections, name), ARGUMENTS.get(name.removeprefix("projection_"), ())
    given = {"equalities": ROW} if "polyhedron" in name else {}
    assert project({"w": jnp.ones((3, 4))}, *arguments, **given)["w"].shape == (3, 4)
    with pytest.raises(ValueError, match="parameters must be floating arrays, got 'int32' at 'w': convert the leaf"):
        project({"w": jnp.arange(12).reshape(3, 4) - 5}, *arguments, **given)


@pytest.mark.parametrize("name", ["transport", "birkhoff"])
@pytest.mark.parametrize("kind", ["", "kl_"])
def test_a_plan_of_integers_is_refused(name, kind):
    sums = [jnp.ones(2)] * 2 if name == "transport" else []
    with pytest.raises(ValueError, match=r"must be floating arrays, got 'int32' at '(plan|scores)'"):
        getattr(projections, f"{kind}projection_{name}")(jnp.eye(2, dtype=jnp.int32), *sums)


def test_integers_that_the_mask_leaves_out_stay():
    params = FLOATS | {"count": INTEGERS["count"]}
    functions = [
        lambda w: penalties.l1(0.5, mask=ONLY).prox(w, 1.0),
        lambda w: penalties.l1(mask=ONLY).project(w, 1.0),
        lambda w: penalties.group_lasso(0.5, groups={"kernel": 0}).prox(w, 1.0),
        lambda w: projections.projection_max_norm(w, 1.0, mask=ONLY),
        lambda w: projections.projection_max_norm(w, 1.0, groups={"kernel": 0}),
        lambda w: projections.projection_l12_ball(w, 1.0, mask=ONLY),
        lambda w: projections.projection_group_balls(w, 1.0, mask=ONLY),
        lambda w: projections.projection_nuclear_ball(w, 1.0, mask=ONLY),
    ]
    for function in functions:
        moved, alone = function(params), function(FLOATS)
        assert moved["count"] is params["count"]
        assert jnp.array_equal(moved["kernel"], alone["kernel"])
        with pytest.raises(ValueError, match="floating arrays, got 'int32' at 'kernel': convert the leaf, or leave it"):
            function(INTEGERS)
