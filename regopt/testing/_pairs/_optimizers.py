"""The optimizers of the table of pairs, by name, each as a function of a learning rate.

Those of regopt come from the catalogue, those of optax from a list that names every public optimizer, and every wrapper
and link of a chain that is no part of one of them. The rate falls in the course of a run, because with a constant one
most adaptive optimizers hover around a solution at a distance of the rate.
"""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from regopt import transforms
from regopt._core.types import Number, NumberOrSchedule, Tree
from regopt.testing._catalogue import CATALOGUE
from regopt.testing._row import Row


class Candidate(NamedTuple):
    """An optimizer to put a penalty on."""

    name: str
    make: Callable[[NumberOrSchedule], optax.GradientTransformation]
    rate: float = 0.1  # the learning rate at the start of a run
    half_life: float = 100.0  # steps after which the rate is a half of the first one; then a third, and so on


def falling(rate: float, half_life: float) -> Callable[[jax.Array], jax.Array]:
    """``rate / (1 + count / half_life)``."""
    return lambda count: rate / (1 + count / half_life)


def candidates() -> list[Candidate]:
    """All optimizers of the table."""
    rows = [row for row in CATALOGUE if _is_optimizer(row)]
    own = [Candidate(f"regopt.{row.label}", _own(row), *_RATES.get(row.label, ())) for row in rows]
    return [*own, *_of("optax", optax), *_of("optax.contrib", optax.contrib), *_AROUND]


def _is_optimizer(row: Row) -> bool:
    first = row.is_optimizer and row.factory.__name__ not in ("regularize", "accumulate", "sam")
    return first or row.kind == "second_order"


def _own(row: Row) -> Callable[[NumberOrSchedule], optax.GradientTransformation]:
    return (lambda rate: row.plain(learning_rate=cast(Number, rate))) if row.is_optimizer else (lambda _: row.make())


def _of(library: str, module: ModuleType) -> list[Candidate]:
    """The optimizers of optax: functions with a learning rate, and the known optimizers without one."""
    found = []
    for name in sorted(vars(module)):
        factory = getattr(module, name)
        takes = _arguments(factory)
        listed = name in _WITHOUT or ("learning_rate" in takes and not name.startswith("scale_by_"))
        if name.startswith("_") or name in _PARTS or not listed:
            continue
        make = _SPECIAL.get(name) or (
            (lambda rate, f=factory: f(rate)) if "learning_rate" in takes else _plain(factory)
        )
        found.append(Candidate(f"{library}.{name}", make, *_RATES.get(name, ())))
    return found


def _plain(
    factory: Callable[[], optax.GradientTransformation],
) -> Callable[[NumberOrSchedule], optax.GradientTransformation]:
    return lambda _: factory()


def _arguments(factory: object) -> set[str]:
    if not inspect.isfunction(factory):
        return set()
    return set(inspect.signature(factory).parameters)


_PARTS = {"schedule_free_eval_params"}
_WITHOUT = {"lbfgs", "polyak_sgd", "prodigy", "cocob", "momo", "momo_adam", "mechanize", "schedule_free", "freeze"}
_WITHOUT |= {"sam", "lookahead", "MultiSteps", "normalize_by_update_norm", "normalize", "apply_every"}


def _everything(params: Tree) -> Tree:
    return jax.tree.map(lambda _: True, params)


def _every_second(step: ArrayLike, **_: Any) -> ArrayLike:
    return jnp.asarray(step) % 2 == 0


_LINKS: dict[str, Callable[[Any], Any]] = {  # what is no optimizer by itself, in front of or behind one
    "adaptive_grad_clip": lambda rate: optax.chain(optax.adaptive_grad_clip(0.1), optax.sgd(rate)),
    "add_noise": lambda rate: optax.chain(optax.add_noise(0.01, 0.55, jax.random.key(0)), optax.sgd(rate)),
    "clip_by_block_rms": lambda rate: optax.chain(optax.clip_by_block_rms(0.1), optax.sgd(rate)),
    "conditionally_mask": lambda rate: optax.conditionally_mask(optax.sgd(rate), _every_second),
    "conditionally_transform": lambda rate: optax.chain(
        optax.conditionally_transform(optax.clip_by_global_norm(0.1), _every_second), optax.sgd(rate)
    ),
    "ema": lambda rate: optax.chain(optax.ema(0.9), optax.sgd(rate)),
    "inject_hyperparams": lambda rate: optax.inject_hyperparams(optax.adam)(rate),
    "keep_params_nonnegative": lambda rate: optax.chain(optax.sgd(rate), optax.keep_params_nonnegative()),
    "masked": lambda rate: optax.masked(optax.adam(rate), _everything),
    "monitor": lambda rate: optax.chain(optax.monitor({"norm": optax.tree.norm}), optax.adam(rate)),
    "named_chain": lambda rate: optax.named_chain(("adam", optax.scale_by_adam()), ("sgd", optax.sgd(rate))),
    "partition": lambda rate: optax.partition({True: optax.adam(rate)}, _everything),
    "reduce_on_plateau": lambda rate: optax.chain(optax.adam(rate), optax.contrib.reduce_on_plateau(patience=1000)),
    "scale_by_backtracking_linesearch": lambda _: optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)
    ),
    "scale_by_distance_over_gradients": lambda rate: optax.chain(
        optax.scale_by_distance_over_gradients(), optax.sgd(rate)
    ),
    "scale_by_param_block_norm": lambda rate: optax.chain(optax.scale_by_param_block_norm(), optax.sgd(rate)),
    "scale_by_param_block_rms": lambda rate: optax.chain(optax.scale_by_param_block_rms(), optax.sgd(rate)),
    "scale_by_stddev": lambda rate: optax.chain(optax.scale_by_stddev(), optax.sgd(rate)),
    "scale_by_trust_ratio": lambda rate: optax.chain(optax.scale_by_trust_ratio(), optax.sgd(rate)),
    "scale_by_zoom_linesearch": lambda _: optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(15)),
    "selective_transform": lambda rate: optax.selective_transform(optax.adam(rate), freeze_mask=False),
    "snapshot": lambda rate: optax.chain(optax.snapshot("norm", optax.tree.norm), optax.adam(rate)),
    "split_real_and_imaginary": lambda rate: optax.contrib.split_real_and_imaginary(optax.adam(rate)),
    "trace": lambda rate: optax.chain(optax.trace(0.9, nesterov=True), optax.sgd(rate)),
    "zero_nans": lambda rate: optax.chain(optax.zero_nans(), optax.adam(rate)),
}
_WITHOUT |= set(_LINKS)
_SPECIAL: dict[str, Callable[[Any], Any]] = {
    **_LINKS,
    "noisy_sgd": lambda rate: optax.noisy_sgd(rate, key=jax.random.key(0)),
    "optimistic_adam": lambda _: optax.optimistic_adam(0.003),  # it takes no schedule
    "rprop": lambda _: optax.rprop(0.1),
    "sm3": lambda _: optax.sm3(0.1),
    "lookahead": lambda rate: optax.lookahead(optax.sgd(rate), 5, 0.5),
    "MultiSteps": lambda rate: optax.MultiSteps(optax.adam(rate), 3).gradient_transformation(),
    "normalize_by_update_norm": lambda rate: optax.chain(optax.normalize_by_update_norm(), optax.sgd(rate)),
    "normalize": lambda rate: optax.chain(optax.contrib.normalize(), optax.sgd(rate)),
    "apply_every": lambda rate: optax.chain(optax.sgd(rate), optax.apply_every(3)),
    "freeze": lambda _: optax.freeze(True),
    "dpsgd": lambda rate: optax.contrib.dpsgd(rate, 1.0, 0.1, 0),
    "mechanize": lambda _: optax.contrib.mechanize(optax.sgd(0.1)),
    "schedule_free": lambda _: optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
    "schedule_free_sgd": lambda _: optax.contrib.schedule_free_sgd(0.1),
    "schedule_free_adamw": lambda _: optax.contrib.schedule_free_adamw(0.1),
    "sam": lambda rate: optax.contrib.sam(optax.sgd(rate), optax.chain(optax.contrib.normalize(), optax.sgd(0.05))),
}
_RATES: dict[str, tuple[float, float]] = {  # a rate and its half-life in steps, where the defaults do not converge
    "adadelta": (0.1, 1e9),
    "dadapt_adamw": (0.2, 50),
    "dog": (1.0, 1e9),
    "dowg": (0.1, 1e9),
    "scale_by_distance_over_gradients": (1.0, 1e9),
    "scale_by_stddev": (0.1, 20),
    "simplified_ademamix": (0.01, 100),
    "lars": (0.5, 1000),
    "rmsprop": (0.1, 20),
    "rmsprop_nesterov": (0.1, 20),
}
_AROUND = [
    Candidate(
        "clip_by_global_norm, sgd", lambda rate: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(rate)), 0.3, 1e9
    ),
    Candidate("clip_by_global_norm, adam", lambda rate: optax.chain(optax.clip_by_global_norm(0.1), optax.adam(rate))),
    Candidate("guard with a norm, adam", lambda rate: transforms.guard(optax.adam(rate), 0.1)),
    Candidate("accumulate, adam", lambda rate: transforms.accumulate(optax.adam(rate), 3)),
    Candidate("sam, sgd", lambda rate: transforms.sam(optax.sgd(rate))),
    Candidate("apply_if_finite, adam", lambda rate: optax.apply_if_finite(optax.adam(rate), 3)),
    Candidate("flatten, adam", lambda rate: optax.flatten(optax.adam(rate))),
    Candidate("sgd with momentum", lambda rate: optax.sgd(rate, momentum=0.9)),
    Candidate("sgd with nesterov", lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True)),
    Candidate(
        "rmsprop, centered with momentum", lambda rate: optax.rmsprop(rate, momentum=0.5, centered=True), 0.03, 30
    ),
    Candidate("decay before momentum", lambda rate: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate, 0.9))),
    Candidate("centralize, sgd", lambda rate: optax.chain(optax.centralize(), optax.sgd(rate))),
    Candidate("clip, sgd", lambda rate: optax.chain(optax.clip(0.1), optax.sgd(rate))),
]
