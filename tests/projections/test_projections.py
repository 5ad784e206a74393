"""Projections: in the set, idempotent, nearest by the variational inequality, and as SciPy and NumPy find them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from regopt import projections, transforms
from regopt._core.linalg import map_singular_values

SETS = {  # the projection at a radius, and how far outside the set a matrix [4, 3] is, relative to the radius
    "l2 ball": (projections.projection_l2_ball, lambda w, r: np.linalg.norm(w) - r),
    "l1 ball": (projections.projection_l1_ball, lambda w, r: np.abs(w).sum() - r),
    "group balls": (projections.projection_group_balls, lambda w, r: np.linalg.norm(w, axis=0).max() - r),
    "rows": (
        lambda w, r: projections.projection_max_norm(w, r, unit_axis=0),
        lambda w, r: np.linalg.norm(w, axis=1).max() - r,
    ),
    "columns": (projections.projection_max_norm, lambda w, r: np.linalg.norm(w, axis=0).max() - r),
    "l1,2 ball": (projections.projection_l12_ball, lambda w, r: np.linalg.norm(w, axis=0).sum() - r),
    "l1,2 ball of rows": (
        lambda w, r: projections.projection_l12_ball(w, r, axis=-1),
        lambda w, r: np.linalg.norm(w, axis=1).sum() - r,
    ),
    "spectral ball": (projections.projection_spectral_ball, lambda w, r: np.linalg.norm(w, 2) - r),
    "nuclear ball": (projections.projection_nuclear_ball, lambda w, r: np.linalg.norm(w, "nuc") - r),
    "box": (
        lambda w, r: projections.projection_box(w, -0.3 * jnp.asarray(r), r),
        lambda w, r: max(w.max() - r, -0.3 * r - w.min()),
    ),
}
each_set = pytest.mark.parametrize("name", SETS)


def points(seed, shape=(6, 4, 3)):
    """Matrices far outside, near and inside the sets of radius 0.7."""
    sizes = np.array([5.0, 2.0, 1.0, 0.5, 0.1, 0.02])
    return np.random.default_rng(seed).normal(size=shape) * sizes[: shape[0], None, None]


@each_set
def test_a_projection_is_feasible_idempotent_and_nearest(name):
    """<w - P w, v - P w> <= 0 for every v of the set: the condition that singles the nearest point out."""
    project, outside = SETS[name]
    with jax.enable_x64(True):
        find = jax.jit(project)
        feasible = [np.asarray(find(jnp.asarray(v), 0.7)) for v in points(1)]
        for w in points(0):
            nearest = np.asarray(find(jnp.asarray(w), 0.7))
            assert outside(nearest, 0.7) <= 1e-14
            np.testing.assert_allclose(find(jnp.asarray(nearest), 0.7), nearest, rtol=0, atol=1e-15)
            if outside(w, 0.7) <= 0:
                np.testing.assert_array_equal(nearest, w)
            for v in feasible:
                assert np.sum((w - nearest) * (v - nearest)) <= 1e-13 * np.linalg.norm(w)


@pytest.mark.sampled(2)
@each_set
def test_a_general_solver_finds_no_nearer_point(name):
    """SLSQP on the smooth form of the constraint, from the projection of another point."""
    project, outside = SETS[name]
    w = points(2)[1]
    with jax.enable_x64(True):
        nearest = np.asarray(project(jnp.asarray(w), 0.7))
        start = np.asarray(project(jnp.asarray(points(3)[2]), 0.65)).ravel()
    found = minimize(
        lambda v: np.sum((v - w.ravel()) ** 2) / 2,
        start,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda v: -outside(v.reshape(4, 3), 0.7)},
        options={"maxiter": 100, "ftol": 1e-9},
    )
    inside = found.x * 0.21 / (0.21 + max(outside(found.x.reshape(4, 3), 0.7), 0))  # SLSQP violates its constraint
    assert outside(inside.reshape(4, 3), 0.7) <= 1e-12
    assert np.sum((nearest - w) ** 2) <= np.sum((inside - w.ravel()) ** 2)


@pytest.mark.sampled(2)
@each_set
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_zero_and_the_border_are_ordinary_points(name, dtype):
    """Values and slopes, in the radius and in the point, at radius 0, at the origin, on the border; radii traced."""
    project, _ = SETS[name]

    @jax.jit
    def with_slopes(w, radius):
        after, pull = jax.vjp(project, w, radius)
        return after, pull(jnp.ones_like(after))

    border = jax.jit(project)(jnp.asarray(points(4)[0], dtype), 0.7)
    for w in (jnp.zeros((4, 3), dtype), border, jnp.eye(4, 3, dtype=dtype)):
        for radius in (0.0, 0.7, 1.0):
            after, slopes = with_slopes(w, jnp.float32(radius))
            assert after.dtype == dtype
            assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in (after, *slopes)), (name, radius)
            if radius == 0:
                np.testing.assert_array_equal(after, 0.0)


@each_set
def test_slopes_are_those_of_central_differences(name):
    project, _ = SETS[name]
    with jax.enable_x64(True):
        w, direction = (jnp.asarray(points(seed)[1]) for seed in (5, 6))
        find = jax.jit(project)
        moved = jax.jvp(find, (w, jnp.float64(0.7)), (direction, jnp.float64(0.3)))[1]
        h = 1e-6
        there, back = (find(w + s * h * direction, 0.7 + s * h * 0.3) for s in (1, -1))
        np.testing.assert_allclose(moved, (there - back) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_the_slope_of_singular_values_that_meet(shape):
    """Through an exactly repeated singular value above the threshold, and one that is 0."""
    project = projections.projection_nuclear_ball
    with jax.enable_x64(True):
        rotations = [np.linalg.qr(np.random.default_rng(7).normal(size=(n, n)))[0] for n in shape]
        middle = np.zeros(shape)
        middle[range(3), range(3)] = [2.0, 2.0, 0.3]
        w = jnp.asarray(rotations[0] @ middle @ rotations[1].T)
        direction = jnp.asarray(np.random.default_rng(8).normal(size=shape))
        moved = jax.jvp(lambda w: project(w, 2.5), (w,), (direction,))[1]
        there, back = (project(w + s * 1e-5 * direction, 2.5) for s in (1, -1))
        np.testing.assert_allclose(moved, (there - back) / 2e-5, atol=1e-6)
        identity = map_singular_values(lambda s, c: c * s, w, jnp.float64(1.0))
        np.testing.assert_array_equal(identity, w)


def test_balls_of_vectors_as_optax_has_them():
    with jax.enable_x64(True):
        params = {"w": jnp.asarray(points(9)[1]), "b": jnp.array([0.5, -3.0])}
        for name in ("l1", "l2"):
            own = getattr(projections, f"projection_{name}_ball")(params, 1.7)
            with jax.numpy_dtype_promotion("standard"):
                other = getattr(optax.projections, f"projection_{name}_ball")(params, 1.7)
            for a, b in zip(*map(jax.tree.leaves, (own, other)), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-14)
        assert (projections.projection_l1_ball(params, 1.7)["w"] == 0).any()
    exported = {name for name in dir(optax.projections) if name.startswith("projection_")}
    assert exported <= set(projections.__all__)


POINT = {"w": jnp.array([[1.5, -0.25], [0.75, 2.0]]), "b": jnp.array([0.5, -3.0])}
AHEAD = jax.tree.map(jnp.ones_like, POINT)
OF_OPTAX = [  # name, valid arguments, wrong ones by name
    (
        "simplex",
        {"scale": 2.0},
        {"scale": [float("nan"), -1.0, 0.0, "1", None, [1.0], jnp.ones(2), float("inf"), True]},
    ),
    ("l1_sphere", {"scale": 2.0}, {"scale": [float("nan"), -1.0, 0.0, "1", None, {}, float("inf")]}),
    ("l2_sphere", {"scale": 2.0}, {"scale": [float("nan"), -1.0, "1", None, [1.0], float("inf")]}),
    ("linf_ball", {"scale": 0.7}, {"scale": [float("nan"), -1.0, "1", None, [1.0]]}),
    ("hypercube", {"scale": 0.7}, {"scale": [float("nan"), -1.0, "1", None, {"w": 1.0}, {"w": "1", "b": 1.0}]}),
    (
        "halfspace",
        {"a": AHEAD, "b": -1.0},
        {"a": ["a", 1.0, jax.tree.map(jnp.zeros_like, POINT), {"w": AHEAD["w"]}], "b": [float("nan"), "1", [1.0]]},
    ),
    ("hyperplane", {"a": AHEAD, "b": 0.5}, {"a": [None, AHEAD["w"]], "b": [float("inf"), None, "1"]}),
    ("vector", {"a": AHEAD}, {"a": ["a", jax.tree.map(lambda x: x * jnp.nan, AHEAD)]}),
    ("non_negative", {}, {}),
]


@pytest.mark.parametrize(("name", "numbers", "wrong"), OF_OPTAX, ids=[row[0] for row in OF_OPTAX])
def test_the_projections_of_optax_are_right_and_refuse_what_is_no_set(name, numbers, wrong):
    own, theirs = getattr(projections, f"projection_{name}"), getattr(optax.projections, f"projection_{name}")
    with jax.numpy_dtype_promotion("standard"):
        if name == "hypercube":  # optax's takes no tree
            expected = jax.tree.map(lambda w: theirs(w, **numbers), POINT)
        else:
            expected = theirs(POINT, **numbers)
    for a, b in zip(*map(jax.tree.leaves, (own(POINT, **numbers), expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    halves = jax.tree.map(lambda w: w.astype(jnp.bfloat16), POINT)
    traced = jax.jit(lambda numbers: own(halves, **numbers))(jax.tree.map(jnp.float32, numbers))
    assert jax.tree.map(lambda w: w.dtype, traced) == jax.tree.map(lambda w: w.dtype, halves)
    for argument, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=argument) as error:
                own(POINT, **{**numbers, argument: value})
            assert "\n" not in str(error.value), value


@pytest.mark.parametrize(
    "bounds", [("0", 1.0), (float("nan"), 1.0), (0.0, float("nan")), (0.0, "1"), (2.0, 1.0), (0.0, {})]
)
def test_bounds_that_are_no_numbers_or_in_the_wrong_order_are_refused(bounds):
    with pytest.raises(ValueError, match=r"lower|upper"):
        projections.projection_box(POINT, *bounds)


def test_whole_groups_of_several_leaves_become_zero():
    params = {"a": jnp.array([[3.0, 0.1], [4.0, 0.1]]), "c": jnp.array([[0.0, 1.0]]), "bias": jnp.array([7.0, 8.0])}
    after = projections.projection_l12_ball(params, 3.0)
    np.testing.assert_allclose(after["a"], [[1.8, 0.0], [2.4, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(after["c"], 0.0)
    np.testing.assert_array_equal(after["bias"], params["bias"])


GROUPED = {
    "kernel": jnp.array([[3.0, 0.1], [0.0, 0.2]]),
    "bias": jnp.array([4.0, 0.3]),
    "next": jnp.array([[12.0], [0.5]]),
}
BY_UNIT = {"kernel": 1, "bias": 0, "next": 0}


@pytest.mark.parametrize(
    "shorten",
    [
        lambda params, bound: projections.projection_max_norm(params, bound, groups=BY_UNIT),
        lambda params, bound: transforms.clip_by_unit_norm(bound, groups=BY_UNIT).update(params, optax.EmptyState())[0],
    ],
    ids=["projection_max_norm", "clip_by_unit_norm"],
)
def test_a_unit_of_several_leaves_is_shortened_as_a_whole(shorten):
    """The unit 0 has the weights (3, 0), the bias 4 and the outgoing weight 12, so its norm is 13."""
    params = {**GROUPED, "other": jnp.array([[100.0, 100.0]])}
    after = shorten(params, 6.5)
    for name, w in GROUPED.items():
        axis = BY_UNIT[name]
        first, second = (np.take(np.asarray(w), unit, axis) for unit in (0, 1))
        np.testing.assert_allclose(np.take(np.asarray(after[name]), 0, axis), first / 2, rtol=1e-6)
        np.testing.assert_array_equal(np.take(np.asarray(after[name]), 1, axis), second)
    np.testing.assert_array_equal(after["other"], params["other"])
    lanes = jax.vmap(lambda bound: shorten(params, bound))(jnp.array([6.5, 20.0]))
    np.testing.assert_allclose(lanes["bias"], [[2.0, 0.3], [4.0, 0.3]], rtol=1e-6)
    halves = jax.tree.map(lambda w: w.astype(jnp.bfloat16), params)
    assert jax.tree.map(lambda w: w.dtype, shorten(halves, 6.5)) == jax.tree.map(lambda w: w.dtype, halves)


def test_groups_leave_no_room_for_other_axes_or_masks():
    calls = [
        (
            lambda: projections.projection_max_norm(GROUPED, 1.0, groups=BY_UNIT, unit_axis=0),
            "unit_axis must be left out",
        ),
        (lambda: projections.projection_max_norm(GROUPED, 1.0, groups=BY_UNIT, mask=None), "mask must be left out"),
        (lambda: projections.projection_max_norm(GROUPED, 1.0, groups={"kernels": 1}), "matches nothing"),
        (lambda: projections.projection_max_norm(GROUPED, {"kernel": 1.0, "**": 2.0}, groups=BY_UNIT), "one number"),
        (lambda: transforms.clip_by_unit_norm(1.0, groups=BY_UNIT, unit_axis=0), "unit_axis must be left out"),
        (lambda: transforms.clip_by_unit_norm(1.0, groups={"kernel": "1"}), "groups must map path patterns"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_radius_and_a_unit_axis_for_each_layer():
    params = {"first": {"kernel": jnp.full((2, 3), 4.0), "bias": jnp.full(3, 9.0)}, "last": jnp.full((3, 1), 4.0)}
    after = projections.projection_max_norm(params, {"first": 1.0, "last": 2.0}, unit_axis=0)
    np.testing.assert_allclose(after["first"]["kernel"], 1 / np.sqrt(3), rtol=1e-6)
    np.testing.assert_array_equal(after["first"]["bias"], 9.0)
    np.testing.assert_allclose(after["last"], 2.0, rtol=1e-6)
    radii = jnp.array([0.5, 2.0])
    lanes = jax.vmap(lambda r: projections.projection_max_norm(params, r))(radii)
    np.testing.assert_allclose(
        jnp.linalg.norm(lanes["first"]["kernel"], axis=1), jnp.tile(radii[:, None], 3), rtol=1e-6
    )


def test_the_affine_projection_with_more_rows_than_rank():
    with jax.enable_x64(True):
        rng = np.random.default_rng(10)
        rows = rng.normal(size=(2, 6))
        matrix, inside = np.concatenate([rows, rows.sum(0, keepdims=True)]), rng.normal(size=6)
        w = {"a": jnp.asarray(rng.normal(size=(2, 2))), "b": jnp.asarray(rng.normal(size=2))}
        after = projections.projection_affine(w, jnp.asarray(matrix), jnp.asarray(matrix @ inside))
        flat, before = (np.concatenate([t["a"].ravel(), t["b"]]) for t in (after, w))
        np.testing.assert_allclose(matrix @ flat, matrix @ inside, atol=1e-13)
        step, *_ = np.linalg.lstsq(matrix, matrix @ (inside - before), rcond=None)
        np.testing.assert_allclose(flat, before + step, atol=1e-13)
    with pytest.raises(ValueError, match=r"matrix must have shape \[m, 6\]"):
        projections.projection_affine(jnp.ones(6), jnp.ones((2, 5)), jnp.ones(2))


def test_dykstra_finds_the_nearest_point_and_not_just_a_common_one():
    """The corner of a disc cut off by a line, and the simplex: the meeting of an orthant and a plane."""
    with jax.enable_x64(True):
        w = jnp.array([2.0, 1.0])
        sets = [
            projections.projection_l2_ball,
            lambda w: projections.projection_box(w, -jnp.inf, jnp.array([0.3, 9.0])),
        ]
        found = projections.projection_intersection(w, sets, cycles=300)
        np.testing.assert_allclose(found, [0.3, np.sqrt(1 - 0.3**2)], atol=1e-9)
        in_turn = sets[1](sets[0](w))  # in both sets, but not the nearest
        np.testing.assert_allclose(in_turn, [0.3, 1 / np.sqrt(5)], rtol=1e-12)
        w = jnp.asarray([1.4, 0.9, -0.3, 0.2, 0.75])
        simplex = [
            lambda w: projections.projection_affine(w, jnp.ones((1, 5)), jnp.ones(1)),
            lambda w: projections.projection_box(w, 0.0, jnp.inf),
        ]
        found, slope = jax.value_and_grad(lambda w: projections.projection_intersection(w, simplex)[0])(w)
        with jax.numpy_dtype_promotion("standard"):
            np.testing.assert_allclose(found, optax.projections.projection_simplex(w)[0], atol=1e-12)
        np.testing.assert_allclose(slope, [2 / 3, -1 / 3, 0, 0, -1 / 3], atol=1e-12)
    with pytest.raises(ValueError, match=r"cycles must be a whole number in \[1, inf\), got 0"):
        projections.projection_intersection(w, sets, cycles=0)


@pytest.mark.parametrize("name", ["group_balls", "max_norm", "l12_ball", "spectral_ball", "nuclear_ball"])
def test_a_negative_radius_is_named(name):
    with pytest.raises(ValueError, match=r"radius must lie in \[0, inf\), got -1.5"):
        getattr(projections, f"projection_{name}")(jnp.ones((2, 2)), -1.5)


def test_the_slope_at_a_zero_inside_the_l1_ball_is_one():
    slopes = jax.jacobian(lambda w: projections.projection_l1_ball(w, 2.0))(jnp.array([0.0, 1.0, -0.25]))
    np.testing.assert_array_equal(slopes, np.eye(3))


@pytest.mark.parametrize("name", ["group_balls", "max_norm", "nuclear_ball", "spectral_ball"])
@pytest.mark.parametrize("radius", [lambda count: 0.1, {"w": lambda count: 0.1}])
def test_a_radius_by_schedule_is_refused_where_no_steps_are_counted(name, radius):
    with pytest.raises(ValueError, match=r"^radius must be a number, got a schedule, but no steps are counted here"):
        getattr(projections, f"projection_{name}")({"w": jnp.ones((3, 4))}, radius)
