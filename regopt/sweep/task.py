"""From a flax module and an optimizer to the three pure functions that a sweep trains."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen, nnx

from regopt.transforms.evaluation import evaluation_params
from regopt.types import Key, Task, Tree

Setting = Mapping[str, Any]
Measure = Callable[[jax.Array, jax.Array], jax.Array]  # (outputs, targets) -> scalar


class SupervisedState(NamedTuple):
    """State of a supervised task."""

    structure: Any  # no leaves: what turns arrays back into a module
    params: Tree  # plain nested dict
    rest: Tree  # what a module carries besides parameters: batch statistics, a dropout rate
    opt_state: Any


def supervised(
    model: Callable[..., Any] | linen.Module,
    loss: Measure,
    optimizer: Callable[[Setting], optax.GradientTransformation],
    *,
    metrics: Mapping[str, Measure] | None = None,
    inputs: Any = None,
) -> Task:
    """Training ``model`` on batches ``(x, y)`` to a small ``loss(model(x), y)``.

    The evaluation reports ``validation_loss`` and a ``validation_<name>`` for each metric, on ``data.validation``
    with noise off; a step reports ``loss``, on its batch with noise on.

    Args:
        model: ``(h, rngs) -> flax.nnx.Module``; or a ``flax.linen`` module, or ``h -> flax.linen`` module.
        loss: ``(outputs, targets) -> scalar``, a mean over the batch.
        optimizer: ``h -> optimizer``, where ``h`` is the dict of one setting's numbers and static values.
        metrics: further ``(outputs, targets) -> scalar`` functions by name.
        inputs: an example of ``x``, needed by linen modules, which learn their shapes from it.

    Returns:
        The task. Its random streams (dropout and the like) are fed from the key of each step, so the engine
        decides whether lanes share their noise.

    Raises:
        ValueError: a linen module comes without ``inputs``.
    """
    face = _linen_face(model, inputs) if _is_linen(model) else _nnx_face(model)

    def init(key: Key, h: Setting) -> SupervisedState:
        structure, params, rest = face.init(key, h)
        return SupervisedState(structure, params, rest, optimizer(h).init(params))

    def step(state: SupervisedState, batch: Tree, key: Key, h: Setting):
        x, y = batch

        def objective(params):
            outputs, rest = face.train(state.structure, params, state.rest, x, key, h)
            return loss(outputs, y), rest

        point = evaluation_params(state.params, state.opt_state)
        (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(point)
        transform = optax.with_extra_args_support(optimizer(h))
        updates, opt_state = transform.update(grads, state.opt_state, state.params, value=value, grad=grads)
        params = optax.apply_updates(state.params, updates)
        return SupervisedState(state.structure, params, rest, opt_state), {"loss": value}

    def evaluate(state: SupervisedState, data: Any, h: Setting):
        x, y = data.validation
        outputs = face.predict(state.structure, state.params, state.rest, x, h)
        measures = {"loss": loss, **(metrics or {})}
        return {f"validation_{name}": measure(outputs, y) for name, measure in measures.items()}

    return Task(init, step, evaluate)


class _Face(NamedTuple):
    """What a task needs of a module, whichever flax it comes from."""

    init: Callable[[Key, Setting], tuple[Any, Tree, Tree]]  # -> structure, params, rest
    train: Callable[..., tuple[jax.Array, Tree]]  # (structure, params, rest, x, key, h) -> outputs, rest
    predict: Callable[..., jax.Array]  # (structure, params, rest, x, h) -> outputs


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _NnxStructure:
    """A module without its arrays; hashable, so it travels as static data of the state."""

    graph: Any
    streams: Any  # tree structure of the random streams' state
    is_key: tuple[bool, ...]  # which of its leaves are keys; the others count calls

    def module(self, params: Tree, rest: Tree, key: Key) -> nnx.Module:
        """The module, its random streams started from ``key``."""
        leaves = [
            jax.random.fold_in(key, i) if is_key else jnp.zeros((), jnp.uint32) for i, is_key in enumerate(self.is_key)
        ]
        streams = jax.tree.unflatten(self.streams, leaves)
        return nnx.merge(self.graph, nnx.State(params), streams, nnx.State(rest))


def _nnx_face(build: Callable[[Setting, nnx.Rngs], nnx.Module]) -> _Face:
    def init(key, h):
        module = build(h, nnx.Rngs(key))
        graph, params, streams, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        leaves, structure = jax.tree.flatten(streams)
        is_key = tuple(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves)
        return _NnxStructure(graph, structure, is_key), nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def train(structure, params, rest, x, key, h):
        del h
        module = structure.module(params, rest, key)
        module.train()
        outputs = module(x)
        _, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return outputs, nnx.to_pure_dict(rest)

    def predict(structure, params, rest, x, h):
        del h
        module = structure.module(params, rest, jax.random.key(0))
        module.eval()
        return module(x)

    return _Face(init, train, predict)


def _is_linen(model: Any) -> bool:
    """A linen module, or a function of the setting alone."""
    return isinstance(model, linen.Module) or len(inspect.signature(model).parameters) == 1


def _linen_face(model: Any, inputs: Any) -> _Face:
    if inputs is None:
        raise ValueError("a flax.linen module learns its shapes from data: give supervised(..., inputs=x[:1])")

    def build(h):
        return model if isinstance(model, linen.Module) else model(h)

    def flags(module: linen.Module, training: bool) -> dict[str, Any]:
        """The argument of ``__call__`` that tells training from inference, by the names in common use."""
        names = inspect.signature(type(module).__call__).parameters
        told = {
            "train": training,
            "training": training,
            "is_training": training,
            "deterministic": not training,
        }
        return {name: value for name, value in told.items() if name in names}

    def init(key, h):
        module = build(h)
        variables = dict(module.init(key, jnp.asarray(inputs), **flags(module, training=False)))
        return None, variables.pop("params"), variables

    def train(structure, params, rest, x, key, h):
        del structure
        module = build(h)
        outputs, rest = module.apply(
            {"params": params, **rest},
            x,
            **flags(module, training=True),
            rngs={"dropout": key},
            mutable=list(rest),
        )
        return outputs, dict(rest)

    def predict(structure, params, rest, x, h):
        del structure
        module = build(h)
        outputs: Any = module.apply({"params": params, **rest}, x, **flags(module, training=False))
        return outputs

    return _Face(init, train, predict)
