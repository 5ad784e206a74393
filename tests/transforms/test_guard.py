"""The guard: a skipped step leaves no trace, every optimizer recovers from every attack, frozen ones are reported."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import regularization, transforms
from regopt._core import trees
from regopt.testing import CATALOGUE, parameters
from regopt.transforms._guard import _size_before

OPTIMIZERS = [row for row in CATALOGUE if row.is_optimizer and row.factory is not regopt.guard]
each_optimizer = pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda row: row.name)
MAX_NORM = 5.0
# around a proximal step a bound is refused, see tests/regularization/test_proximal_steps.py
CLIPPED = [
    row
    for row in OPTIMIZERS
    if not isinstance(jax.eval_shape(row.make().init, parameters(jnp.float32)), regularization.ProximalState)
]
each_clipped = pytest.mark.parametrize("row", CLIPPED, ids=lambda row: row.name)
ATTACKS = {
    "NaN": lambda g: jnp.full_like(g, jnp.nan),
    "inf": lambda g: jnp.full_like(g, jnp.inf),
    "-inf": lambda g: jnp.full_like(g, -jnp.inf),
    "1e4": lambda g: g * 1e4,
    "1e18": lambda g: g * 1e18,
    "1e30": lambda g: g * 1e30,
    "3e38": lambda g: jnp.sign(g) * 3e38,
    "one NaN": lambda g: g.at[(0,) * g.ndim].set(jnp.nan),
}
DROPPED = ("NaN", "inf", "-inf", "one NaN", "1e18", "1e30", "3e38")


def loss(params):
    """A quadratic bowl away from the start, with a gradient that is nowhere zero on the way."""
    leaves = jax.tree.leaves(params)
    return sum(0.5 * (i + 1) * jnp.sum((w - 0.3).astype(jnp.float32) ** 2) for i, w in enumerate(leaves))


def step(optimizer, params, state, alter=lambda g: g):
    """One step with the gradient at the evaluation point, altered."""
    grads = jax.tree.map(alter, jax.grad(loss)(regopt.evaluation_params(params, state)))
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def descend(optimizer, params, state, steps):
    """Clean steps, and how far each one moved."""

    def body(carry, _):
        after = step(optimizer, *carry)
        return after, optax.tree.norm(jax.tree.map(jnp.subtract, after[0], carry[0]))

    (params, state), lengths = jax.lax.scan(body, (params, state), length=steps)
    return params, state, lengths


class Outcome(NamedTuple):
    """A run with an attack."""

    at_attack: jax.Array  # the loss before it
    loss: jax.Array  # in the end
    params: Any
    state: Any
    lengths: jax.Array  # of the last ten steps


def under_attack(optimizer, names):
    """Five clean steps, an attack, a hundred clean steps: the outcome by the attack's name, of one program.

    The one named "none" has its sixth step left out.
    """
    alters = [ATTACKS.get(name, lambda g: g) for name in names]
    start = parameters(jnp.float32)

    def run(kind):
        params, state, _ = descend(optimizer, start, optimizer.init(start), 5)
        altered = step(optimizer, params, state, lambda g: jnp.stack([alter(g) for alter in alters])[kind])
        none = kind == names.index("none") if "none" in names else jnp.zeros((), bool)
        moved, after = trees.where(none, (params, state), altered)
        moved, after, lengths = descend(optimizer, moved, after, 100)
        return Outcome(loss(params), loss(moved), moved, after, lengths[-10:])

    outcomes = jax.jit(lambda kinds: jax.lax.map(run, kinds))(jnp.arange(len(names)))
    return {name: jax.tree.map(lambda x, i=i: x[i], outcomes) for i, name in enumerate(names)}


def floats(tree):
    """The inexact leaves as one float64 vector."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in leaves])


def same_bits(a, b):
    chex.assert_trees_all_equal_structs(a, b)
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.sampled(5)
@each_clipped
def test_every_optimizer_recovers_from_every_attack(row):
    optimizer = regopt.guard(row.make(), MAX_NORM)
    outcomes = under_attack(optimizer, ["none", *ATTACKS])
    clean = outcomes.pop("none")
    assert (clean.state.skipped, clean.state.count) == (0, 105)
    for name, end in outcomes.items():
        assert end.loss < end.at_attack, name
        assert end.lengths.any() or end.loss < 1e-9, name  # it may sit in the minimum itself
        assert (end.state.count, end.state.overflowed) == (106, False), name
        assert end.state.still <= 1, name  # accumulation and SAM take two gradients for a step
        if name in DROPPED:
            assert (end.state.skipped, end.state.first_bad_step) == (1, 5), name
            assert same_bits((end.params, end.state.inner), (clean.params, clean.state.inner)), name
        else:
            assert (end.state.skipped, end.state.first_bad_step) == (0, -1), name


@pytest.mark.sampled(5)
@each_optimizer
def test_a_spike_cannot_freeze_a_guarded_optimizer_without_a_norm_either(row):
    for name, end in under_attack(regopt.guard(row.make()), ["1e30", "3e38"]).items():
        assert (end.state.still <= 1, end.state.overflowed) == (True, False), name
        assert np.isfinite(floats((end.params, end.state))).all(), name


@pytest.mark.sampled(5)
@each_optimizer
def test_an_optimizer_that_is_frozen_is_reported(row):
    """Bare optimizers after a spike; those whose parameters are finite and no longer move are to be found."""
    for name, end in under_attack(row.make(), ["1e30", "3e38"]).items():
        if is_frozen(end):
            assert reported(row.make(), end).still >= 20, name  # AdaMax's norm decays before it is out of reach


def test_adam_is_among_the_frozen_and_is_reported():
    end = under_attack(regopt.adam(0.02), ["1e30"])["1e30"]
    assert np.isinf(end.state[0].nu["layer"]["bias"]).all()
    assert is_frozen(end)
    report = reported(regopt.adam(0.02), end)
    assert (report.still, report.skipped, report.count) == (40, 0, 40)


def is_frozen(end):
    """Whether the parameters are finite, away from the minimum, and no longer move."""
    return bool(np.isfinite(floats(end.params)).all() and not end.lengths.any() and end.loss > 1e-9)


def reported(bare, end):
    """The report of a guard that takes over the state of a bare optimizer for forty steps."""
    guarded = regopt.guard(bare)
    state = guarded.init(end.params)._replace(inner=end.state)
    return jax.jit(lambda params, state: descend(guarded, params, state, 40)[1])(end.params, state)


def perturbed(key, params, noise):
    """``noise(key, leaf)`` with a key for each leaf."""
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten([noise(jax.random.fold_in(key, i), leaf) for i, leaf in enumerate(leaves)])


def clean_runs(row, lanes, steps=100):
    """Reports of guarded runs from random parameters, one a lane."""
    optimizer = regopt.guard(row.make(), MAX_NORM)

    def run(key):
        start = perturbed(key, parameters(jnp.float32), lambda key, w: w + 3 * jax.random.normal(key, w.shape, w.dtype))
        return descend(optimizer, start, optimizer.init(start), steps)[1]

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(2), lanes))


def no_alarm(state):
    return bool((state.skipped == 0).all() & (state.still < 5).all() & ~state.overflowed.any())


@pytest.mark.sampled(5)
@each_clipped
def test_clean_runs_raise_no_alarm(row):
    assert no_alarm(clean_runs(row, 16))


@pytest.mark.long
@each_clipped
def test_a_thousand_clean_runs_raise_no_alarm(row):
    assert no_alarm(clean_runs(row, 1000, 300))


def random_bits(key, like):
    """Every pattern of bits alike: NaN, infinities, subnormal numbers, both zeros."""
    integer = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[like.dtype.itemsize]
    return jax.lax.bitcast_convert_type(jax.random.bits(key, like.shape, integer), like.dtype)


def bombarded(row, dtype, lanes, steps, max_norm):
    """Parameters and states after steps with random bits as gradients, and what clean steps up or down would move."""
    optimizer = regopt.guard(row.make(), max_norm)

    def run(key):
        params = parameters(dtype)

        def body(carry, key):
            params, state = carry
            grads = perturbed(key, params, random_bits)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(body, (params, optimizer.init(params)), jax.random.split(key, steps))

        def moves(slope):  # an entry at a bound moves one way only, and not before its momentum has turned
            grads = jax.tree.map(lambda w: jnp.full_like(w, slope), params)

            def step(state, _):
                updates, state = optimizer.update(grads, state, params)
                return state, jax.tree.map(lambda u: u != 0, updates)

            return jax.tree.map(lambda moved: moved.any(0), jax.lax.scan(step, state, length=10)[1])

        return params, state, jax.tree.map(jnp.logical_or, moves(1.0), moves(-1.0))

    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(4), lanes))


def check_bombarded(row, dtype, lanes, steps, max_norm):
    params, state, moved = bombarded(row, dtype, lanes, steps, max_norm)
    assert np.isfinite(floats((params, state))).all()
    assert (state.skipped > 0).all()
    if max_norm is not None:
        alive = np.concatenate([np.ravel(x) for x in jax.tree.leaves(moved)])
        assert alive.mean() >= 0.999


@pytest.mark.sampled(5)
@each_clipped
def test_random_bits_leave_every_parameter_finite(row):
    check_bombarded(row, jnp.float32, lanes=4, steps=300, max_norm=MAX_NORM)


@pytest.mark.parametrize("name", ["adam", "nesterov"])
def test_random_bits_leave_every_parameter_finite_without_a_norm_too(name):
    row = next(row for row in OPTIMIZERS if row.label == name)
    check_bombarded(row, jnp.float32, lanes=4, steps=300, max_norm=None)


@pytest.mark.long
@pytest.mark.parametrize(
    ("row", "max_norm"),
    [
        pytest.param(row, max_norm, id=f"{row.name}, {max_norm}")
        for max_norm, rows in ((MAX_NORM, CLIPPED), (None, OPTIMIZERS))
        for row in rows
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=lambda d: d.__name__)
def test_a_million_random_gradients_leave_every_parameter_finite(row, dtype, max_norm):
    check_bombarded(row, dtype, lanes=100, steps=10_000, max_norm=max_norm)


def test_a_skipped_step_changes_no_bit_not_even_of_a_negative_zero():
    optimizer = regopt.guard(regopt.adam(0.1), 1.0)
    params = {"w": jnp.array([-0.0, 0.0, 1.5, -1e-30])}
    _, state = optimizer.update(params, optimizer.init(params), params)
    grads = {"w": jnp.array([1.0, jnp.nan, 1.0, 1.0])}
    updates, after = jax.jit(optimizer.update)(grads, state, params)
    assert same_bits(jax.jit(optax.apply_updates)(params, updates), params)
    assert same_bits(after.inner, state.inner)
    assert (after.skipped, after.first_bad_step, after.count) == (1, 1, 2)
    _, again = optimizer.update(grads, after, params)
    assert (again.skipped, again.first_bad_step) == (2, 1)


def test_without_a_bad_step_the_guard_is_not_there():
    params = parameters(jnp.float32)
    bare, guarded = regopt.adam(0.1), regopt.guard(regopt.adam(0.1))
    with_clipping = regopt.guard(regopt.adam(0.1), 0.5)
    clipped = optax.chain(transforms.clip_by_global_norm(0.5), regopt.adam(0.1))
    for one, other in ((bare, guarded), (clipped, with_clipping)):
        plain, watched = (jax.jit(lambda p, o=o: descend(o, p, o.init(p), 20)[0])(params) for o in (one, other))
        np.testing.assert_allclose(floats(plain), floats(watched), rtol=3e-6)  # roundings of two fused programs


def test_parameters_that_would_overflow_do_not_move():
    optimizer = regopt.guard(regopt.sgd(1.0))
    params = {"w": jnp.array([3e38, 1.0], jnp.float32)}
    updates, state = optimizer.update({"w": jnp.array([-3e38, 1.0], jnp.float32)}, optimizer.init(params), params)
    assert same_bits(optax.apply_updates(params, updates), params)
    assert state.skipped == 1


def test_a_state_with_infinities_of_its_own_is_no_alarm():
    best = optax.GradientTransformation(lambda _: jnp.array(jnp.inf), lambda u, s, _=None: (u, s))
    optimizer = regopt.guard(optax.chain(best, regopt.sgd(0.1)))
    params = {"w": jnp.ones(2)}
    _, state = optimizer.update(params, optimizer.init(params), params)
    assert state.skipped == 0
    assert not state.overflowed


def test_a_state_of_other_shapes_than_one_array_of_parameters_is_watched_too():
    """The state of a factored second moment has a row and a column of the matrix, and is no tree like the gradients."""
    bare = optax.scale_by_factored_rms(min_dim_size_to_factor=1)
    optimizer = regopt.guard(bare)
    w, g = jnp.ones((4, 3)), jnp.linspace(1.0, 2.0, 12).reshape(4, 3)
    updates, state = optimizer.update(g, optimizer.init(w), w)
    moves, after = bare.update(g, bare.init(w), w)
    assert same_bits((updates, state.inner), (moves, after))
    assert state.skipped == 0
    _, state = optimizer.update(g.at[1, 2].set(1e30), state, w)  # the squares of one row and one column overflow
    assert state.skipped == 1
    assert same_bits(state.inner, after)


def test_a_bound_of_zero_stops_the_parameters_without_an_alarm():
    w = jnp.array([1.0, -2.0])
    for bound, still in ((0.0, 0), (1e-30, 1)):
        optimizer = regopt.guard(regopt.sgd(0.1), bound, max_shrink=1e18)
        _, state = optimizer.update(jnp.array([3e-14, 4e-14]), optimizer.init(w), w)
        assert (state.skipped, state.still) == (0, still)


@pytest.mark.parametrize("bound", [None, 1.0])
@pytest.mark.parametrize(("size", "still"), [(0.0, 0), (1e-15, 1)])
def test_a_gradient_of_zeros_is_no_stall_and_one_that_moves_nothing_is(bound, size, still):
    w = jnp.array([1.0, -2.0])
    optimizer = regopt.guard(regopt.sgd(0.1), bound)
    _, state = optimizer.update(jnp.array([size, 0.0]), optimizer.init(w), w)
    assert (state.skipped, state.still) == (0, still)


def test_the_slope_through_a_skipped_step_is_finite_and_that_of_the_others():
    def trained(rate, bad):
        optimizer = regopt.guard(regopt.adam(rate), 1.0)
        params = parameters(jnp.float32)
        state = optimizer.init(params)
        for alter in bad:
            params, state = step(optimizer, params, state, alter)
        return loss(params)

    def same(g):
        return g

    clean = jax.jit(jax.grad(lambda rate: trained(rate, [same] * 3)))(0.1)
    for name in ("-inf", "one NaN"):
        slope = jax.jit(jax.grad(lambda rate, a=ATTACKS[name]: trained(rate, [same, a, same, same])))(0.1)
        assert float(slope) == pytest.approx(float(clean), rel=1e-6), name


@pytest.mark.parametrize("bound", [0.0, 1e-30, 1.0])
@pytest.mark.parametrize("g", [(0.0, 0.0), (3e-25, 4e-25), (3.0, 4.0), (jnp.inf, 1.0), (jnp.nan, 1.0)])
def test_the_slopes_by_the_bound_and_the_gradient_are_finite(bound, g):
    def moved(bound, g):
        optimizer = regopt.guard(optax.sgd(1.0), bound, max_shrink=1e18)
        return jnp.sum(optimizer.update(g, optimizer.init(jnp.zeros(2)))[0])

    by_bound, by_gradient = jax.grad(moved, (0, 1))(bound, jnp.array(g))
    assert np.isfinite(by_bound)
    assert np.isfinite(by_gradient).all()
    if g == (3.0, 4.0) and bound != 1e-30:  # clipped to the bound along the gradient; 1e-30 drops it
        assert float(by_bound) == pytest.approx(-1.4)


def test_the_report_is_found_in_a_chain():
    optimizer = optax.chain(optax.identity(), regopt.guard(regopt.sgd(0.1)))
    params = {"w": jnp.ones(2)}
    _, state = optimizer.update({"w": jnp.array([1.0, jnp.nan])}, optimizer.init(params), params)
    assert optax.tree.get(state, "skipped") == 1
    assert optax.tree.get(state, "first_bad_step") == 0


def test_the_bound_is_checked():
    with pytest.raises(ValueError, match=r"max_norm must lie in \[0, inf\), got -1.0"):
        regopt.guard(regopt.sgd(0.1), -1.0)


def test_a_guarded_step_takes_few_kernels_and_no_memory_beside_its_results():
    """Seven kernels for a matrix, one for the norm of the gradient, three to check, three for results; one to spare."""
    params = {f"layer {i}": jnp.ones((64, 64)) for i in range(12)}
    optimizer = regopt.guard(regopt.adam(0.1), 1.0)

    def train(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    arguments = jax.eval_shape(lambda: (params, optimizer.init(params), params))
    program = jax.jit(train, donate_argnums=(0, 1)).lower(*arguments).compile()
    text = program.as_text()
    kernels = text.split("ENTRY")[1].count(" fusion(")
    assert text.count(" = ") <= 200 * len(params)  # each operation takes its time to compile
    assert kernels <= 8 * len(params) + 20
    assert program.memory_analysis().temp_size_in_bytes < sum(w.nbytes for w in params.values()) / 2


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("size", [0, 3, 5000])
def test_leaves_of_every_size_are_watched(size, max_norm):
    """Large leaves are reduced in another way than small ones."""
    params = {"one": jnp.ones(3), "other": jnp.ones((size, 2))}
    optimizer = regopt.guard(regopt.adam(0.1), max_norm)
    state, step = optimizer.init(params), jax.jit(optimizer.update)
    assert state.infinite == 0
    clean, after = step(params, state, params)
    assert (after.skipped, after.overflowed, after.still) == (0, False, 0)
    assert float(clean["one"][0]) == pytest.approx(-0.1, rel=1e-4)
    if not size:
        return
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        grads = {"one": jnp.ones(3), "other": jnp.ones((size, 2)).at[-1, 1].set(bad)}
        updates, kept = step(grads, after, params)
        assert kept.skipped == 1
        assert same_bits(kept.inner, after.inner)
        assert same_bits(updates, trees.no_move(updates))
    frozen = after.inner[0]._replace(nu=jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), after.inner[0].nu))
    _, report = step(params, after._replace(inner=(frozen, *after.inner[1:])), params)
    assert (report.overflowed, report.still, report.skipped) == (True, 1, 0)
    far = {"one": jnp.ones(3), "other": jnp.full((size, 2), 3.4e38)}
    huge = regopt.guard(regopt.sgd(1.0))
    assert jax.jit(huge.update)(jax.tree.map(jnp.negative, far), huge.init(far), far)[1].skipped == 1


@pytest.mark.parametrize("cheap", [True, False], ids=["computed twice", "computed once"])
def test_a_step_that_is_undone_leaves_the_state_of_either_kind(cheap):
    """An update with a loop in it is not computed a second time."""

    def init(w):
        return {"sum": jnp.zeros_like(w), "count": jnp.zeros((), jnp.int32)}

    def update(g, state, params=None):
        total = state["sum"] + (g if cheap else jax.lax.fori_loop(0, 1, lambda _, x: x + g, jnp.zeros_like(g)))
        return -1e38 * total, {"sum": total, "count": state["count"] + 1}

    optimizer = regopt.guard(optax.GradientTransformation(init, update))
    w = jnp.array([1.0, -2.0])
    step = jax.jit(optimizer.update)
    updates, state = step(jnp.array([0.5, -0.5]), optimizer.init(w), w)
    np.testing.assert_array_equal(updates, np.float32([-5e37, 5e37]))
    undone, after = step(jnp.array([8.0, 0.0]), state, w)  # the updates overflow
    assert same_bits(undone, jnp.array([-0.0, -0.0]))
    assert same_bits(after.inner, state.inner)
    assert (after.skipped, after.first_bad_step) == (1, 1)
    np.testing.assert_array_equal(step(jnp.array([0.5, 0.0]), after, w)[1].inner["sum"], [1.0, -0.5])


@pytest.mark.parametrize(
    "after",
    [
        lambda grads, state, params: (grads, state[1]),  # the gradient of the step before
        lambda grads, state, params: (params, grads),
        lambda grads, state, params: (state[1], state[0]),
        lambda grads, state, params: (state[0] + grads,) * 2,  # one value in two places
        lambda grads, state, params: (jnp.zeros(2), state[0] + grads),
    ],
)
def test_a_state_that_is_passed_through_is_kept_bit_for_bit(after):
    start = optax.GradientTransformation(
        lambda params: (jnp.full(2, 3.0), jnp.full(2, 5.0)),
        lambda grads, state, params=None: (-0.1 * grads, after(grads, state, params)),
    )
    optimizer, params = regopt.guard(start), jnp.array([1.0, -2.0])
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for grads in (jnp.array([0.3, 0.4]), jnp.array([jnp.nan, 1.0]), jnp.array([0.1, 0.2]), jnp.array([jnp.inf, 1.0])):
        moves, new = update(grads, state, params)
        eager, expected = optimizer.update(grads, state, params)
        for one, other in zip(jax.tree.leaves((moves, new)), jax.tree.leaves((eager, expected)), strict=True):
            np.testing.assert_array_equal(one, other)
        if not jnp.isfinite(grads).all():
            for one, other in zip(jax.tree.leaves(new.inner), jax.tree.leaves(state.inner), strict=True):
                np.testing.assert_array_equal(one, other)
        params, state = params + moves, new


@pytest.mark.parametrize(("size", "skipped"), [(9.0, 0), (11.0, 1)])
def test_a_gradient_is_dropped_beyond_the_stated_factor(size, skipped):
    """And clipped below it; a bound of 0 drops nothing."""
    w = jnp.zeros(2)
    for bound, expected in ((0.1, skipped), (0.0, 0)):
        optimizer = regopt.guard(regopt.sgd(1.0), bound, max_shrink=100.0)
        updates, state = optimizer.update(jnp.array([0.0, size]), optimizer.init(w), w)
        assert state.skipped == expected
        np.testing.assert_allclose(updates, [0.0, 0.0 if expected else -bound], rtol=1e-6)


@pytest.mark.parametrize(("size", "skipped"), [(0.99, 0), (1.01, 1)])
def test_a_factor_beyond_the_largest_counts_as_the_largest(size, skipped):
    """In float32 that is ``2 ** 60``, about 1e18: a sixteenth of the length whose square is the largest number."""
    w = jnp.zeros(2)
    optimizer = regopt.guard(regopt.sgd(1.0), 1.0, max_shrink=1e30)
    updates, state = optimizer.update(jnp.array([0.0, size * 2.0**60]), optimizer.init(w), w)
    assert state.skipped == skipped
    np.testing.assert_allclose(updates, [0.0, skipped - 1.0], rtol=1e-6)


def test_the_size_of_a_step_is_that_of_the_parameters_alone_and_not_finite_where_a_moment_is_not():
    w, old = jnp.array([1.0, -3.0]), jnp.array([5.0, 7.0])
    assert float(jnp.sum(_size_before(w, [(old, old)]))) == 2.0
    assert float(jnp.sum(_size_before(None, [(old, old)]))) == 0.0
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        for size in (_size_before(w, [(old.at[1].set(bad), old)]), _size_before(None, [(old.at[1].set(bad), old)])):
            assert not jnp.isfinite(jnp.sum(size))
