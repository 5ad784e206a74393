"""No pair of an optimizer and a way to apply a penalty solves another problem without a word.

Every optimizer of regopt, optax and optax.contrib is in the table. Each run measures every accepted optimizer in a
proximal step with one of the penalties; ``pytest -m long`` measures all of them, and the constraints.
"""

import inspect

import numpy as np
import optax
import pytest

from regopt.testing import CATALOGUE
from regopt.testing._cli import main
from regopt.testing._pairs import (
    ANOTHER,
    HOW,
    PENALTIES,
    RIGHT,
    PairOutcome,
    candidates,
    outcome_lines,
    outcomes,
    problem,
)

CANDIDATES = candidates()
NAMES = [candidate.name for candidate in CANDIDATES]


def says_something(outcome):
    return outcome.verdict.startswith(("refused: ", "another fixed point, documented", "right"))


@pytest.mark.parametrize("place", range(len(CANDIDATES)), ids=NAMES)
def test_a_proximal_step_is_right_or_documented_or_refused(place):
    found = outcomes(CANDIDATES[place], "proximal", [PENALTIES[place % 3]])
    assert all(map(says_something, found)), outcome_lines(found)


@pytest.mark.long
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("place", range(len(CANDIDATES)), ids=NAMES)
def test_every_pair_is_right_or_documented_or_refused(place, how):
    found = outcomes(CANDIDATES[place], how)
    assert all(map(says_something, found)), outcome_lines(found)


def test_the_table_names_every_optimizer():
    for library, module in (("optax", optax), ("optax.contrib", optax.contrib)):
        takers = [
            name
            for name, factory in vars(module).items()
            if inspect.isfunction(factory)
            and not name.startswith("_")
            and "learning_rate" in inspect.signature(factory).parameters
        ]
        parts = {name for name in takers if name.startswith("scale_by_")}
        assert {f"{library}.{name}" for name in set(takers) - parts} <= set(NAMES)
    own = {row.label for row in CATALOGUE if row.kind == "second_order"} | {"sgd", "adam", "nesterov", "lion"}
    assert {f"regopt.{label}" for label in own} <= set(NAMES)


COVERED = {  # links whose rows have another name, and what is no link of its own
    "add_decayed_weights": "decay before momentum",
    "apply_if_finite": "apply_if_finite, adam",
    "centralize": "centralize, sgd",
    "chain": "clip, sgd",
    "clip": "clip, sgd",
    "clip_by_global_norm": "clip_by_global_norm, sgd",
    "differentially_private_aggregate": "optax.contrib.dpsgd",
    "flatten": "flatten, adam",
    "inject_stateful_hyperparams": "optax.inject_hyperparams",
    "measure_with_ema": "optax.monitor",
    "multi_transform": "optax.partition",
    "scale_by_belief": "optax.adabelief",
    "scale_by_optimistic_gradient": "optax.optimistic_gradient_descent",
    "scale_by_polyak": "optax.polyak_sgd",
    "scale_by_rms": "optax.rmsprop",
    "scale_by_rss": "optax.adagrad",
    "scale_by_sign": "optax.sign_sgd",
    "set_to_zero": "optax.freeze",
}
WITHOUT_A_ROW = {"identity", "scale", "scale_by_learning_rate", "scale_by_schedule"}  # numbers alone, as in every row
WITHOUT_A_ROW |= {"stateless", "stateless_with_tree_map", "with_extra_args_support"}  # what others make of a function


@pytest.mark.parametrize(("library", "module"), [("optax", optax), ("optax.contrib", optax.contrib)])
def test_the_table_has_every_transformation_of_optax_by_its_own_name_or_another(library, module):
    for name, factory in vars(module).items():
        if name.startswith("_") or name in WITHOUT_A_ROW or not inspect.isfunction(factory):
            continue
        if "GradientTransformation" in str(inspect.signature(factory).return_annotation):
            named = f"{library}.{name}", f"{library}.{name.removeprefix('scale_by_')}", COVERED.get(name)
            assert set(named) & set(NAMES), name


REFUSED = """lion newton gauss_newton levenberg_marquardt bfgs lbfgs newton_cg nonlinear_cg diagonal_newton
schedule_free_sgd lookahead average_params"""
REFUSED_OF_OPTAX = """sign_sgd lbfgs lion rprop contrib.sophia contrib.cocob contrib.mechanize contrib.sam contrib.muon
contrib.schedule_free"""
ALL_REFUSED = [f"regopt.{name}" for name in REFUSED.split()] + [f"optax.{name}" for name in REFUSED_OF_OPTAX.split()]
ALL_REFUSED += ["sam, sgd", "clip, sgd", "centralize, sgd", "flatten, adam"]


@pytest.mark.parametrize("name", ALL_REFUSED)
def test_what_has_no_metric_is_refused_for_every_penalty(name):
    candidate = next(each for each in CANDIDATES if each.name == name)
    for how in ("proximal", "constraint"):
        verdicts = {outcome.verdict for outcome in outcomes(candidate, how)}
        assert len(verdicts) == 1
        assert verdicts.pop().startswith("refused: ")


@pytest.mark.parametrize("how", ["gradient", "decoupled"])
def test_a_set_has_no_gradient(how):
    outcome = outcomes(CANDIDATES[0], how, ["box"])[0]
    assert "infinite outside a set has no gradient" in outcome.verdict
    assert [each.verdict for each in outcomes(CANDIDATES[0], how, ["l1", "group lasso"])] == [ANOTHER[how]] * 2


@pytest.mark.parametrize("how", HOW)
def test_an_optimizer_of_other_parameters_is_refused_in_a_line_that_says_so(how):
    """The lookahead of optax takes two trees of parameters."""
    lookahead = next(each for each in candidates() if each.name == "optax.lookahead")
    for found in outcomes(lookahead, how, ["l1"], steps=0):
        assert found.verdict.startswith("refused: ")
        assert "its update raises" in found.verdict
        assert "fast" in found.verdict


def test_a_wrong_pair_shows():
    """An optimizer whose rate falls too fast to arrive."""
    stopping = CANDIDATES[0]._replace(half_life=0.01)
    found = outcomes(stopping, "proximal", ["l1"])
    assert found[0].is_wrong
    assert not says_something(found[0])
    assert "too large" in outcome_lines(found)
    assert not PairOutcome("", "", "", RIGHT).is_wrong


def test_the_solutions_are_optimal():
    """The gradient of the loss is in the negative subdifferential of each penalty."""
    made = problem()
    slopes = {name: made.x.T @ (made.x @ w - made.y) / len(made.x) for name, w in made.best.items()}
    w, slope = made.best["l1"], slopes["l1"]
    np.testing.assert_allclose(slope[w != 0], -0.15 * np.sign(w[w != 0]), atol=1e-12)
    assert 0 < np.sum(w == 0) < 8
    assert np.abs(slope[w == 0]).max() <= 0.15
    w, slope = made.best["group lasso"], slopes["group lasso"]
    kept = np.any(w != 0, axis=1)
    sizes = np.linalg.norm(w[kept], axis=1, keepdims=True)
    np.testing.assert_allclose(slope[kept], -0.15 * w[kept] / sizes, atol=1e-12)
    assert np.linalg.norm(slope[~kept], axis=1).max() <= 0.15
    w, slope = made.best["box"], slopes["box"]
    inside = (w > -0.2) & (w < 0.4)
    np.testing.assert_allclose(slope[inside], 0, atol=1e-12)
    assert np.all(slope[w == 0.4] <= 0)
    assert np.all(slope[w == -0.2] >= 0)
    assert 0 < inside.sum() < 8


def test_the_command_prints_the_table(capsys):
    assert main(["pairs", "sign_sgd"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed if "takes the sign" in line] == [
        ["optax.sign_sgd", how] for how in ("proximal", "constraint")
    ]
    assert printed[-1] == "0 wrong"
    assert main([]) == 2
