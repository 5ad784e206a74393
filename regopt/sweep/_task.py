"""From a flax module and an optimizer to the pure functions that a sweep trains."""

import inspect
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

from regopt._core.messages import brief
from regopt._core.protocols import evaluation_params, final_params
from regopt._core.types import Key, Task, Tree
from regopt._core.units import declared, declared_axes

Setting = Mapping[str, Any]
Measure = Callable[..., jax.Array]  # (outputs, targets) -> scalar, or (outputs, targets, h)
Augment = Callable[[Key, Any, Any, Setting], tuple[Any, Any]]  # (key, x, y, h) -> x, y
# folded into a step's key: far from the counts of a module's random streams
AUGMENT = np.uint32(zlib.crc32(b"augment"))


class SupervisedState(NamedTuple):
    """State of a supervised task."""

    params: Tree  # plain nested dict; the model is regopt.final_params(params, opt_state)
    rest: Tree  # what a module carries besides parameters: batch statistics, a dropout rate
    opt_state: Any


def supervised(
    model: Callable[..., Any] | linen.Module,
    loss: Measure,
    optimizer: Callable[[Setting], optax.GradientTransformation],
    *,
    metrics: Mapping[str, Measure] | None = None,
    inputs: Any = None,
    augment: Augment | None = None,
) -> Task:
    """Training ``model`` on batches ``(x, y)`` to a small ``loss(model(x), y)``.

    The evaluation reports ``validation_loss`` and a ``validation_<name>`` for each metric, on ``data.validation``
    with noise off; a step reports ``loss``, on its batch with noise on, at the optimizer's evaluation point. The
    predictions are the outputs that the evaluation measures: noise off, with the optimizer's final parameters.

    Args:
        model: ``(h, rngs) -> flax.nnx.Module``; or a ``flax.linen`` module, or ``h -> flax.linen`` module.
        loss: ``(outputs, targets) -> scalar``, a mean over the batch; with a third argument named ``h`` it is given
            the setting, for a task's weight, say.
        optimizer: ``h -> optimizer``, where ``h`` is the dict of one setting's numbers and static values; its update
            gets ``value``, ``grad`` and ``value_fn`` of the batch's loss as extra arguments, for line searches and
            methods of second order.
        metrics: further such functions by name.
        inputs: an example of ``x``, needed by linen modules, which learn their shapes from it.
        augment: ``(key, x, y, h) -> (x, y)``, what a step trains on in place of its batch: images turned, labels made
            noisy, examples mixed. The evaluation sees the data as they are.

    Returns:
        The task. Its random streams (dropout and the like) are fed from the key of each step, so the engine
        decides whether lanes share their noise.

    Raises:
        ValueError: a linen module comes without ``inputs``, or a metric is named ``loss``.
    """
    _check_functions({"model": model, "loss": loss, "optimizer": optimizer})
    _check_functions({} if metrics is None else metrics)
    if "loss" in (metrics or {}):
        raise ValueError("metrics must not be named loss, the evaluation reports the loss by that name")
    measures = {name: _with_setting(measure) for name, measure in {"loss": loss, **(metrics or {})}.items()}
    face = _linen_face(model, inputs) if _is_linen(model) else _nnx_face(model)

    def init(key: Key, h: Setting) -> SupervisedState:
        params, rest = face.init(key, h)
        with declared(face.axes(key, h)):
            return SupervisedState(params, rest, optimizer(h).init(params))

    def step(state: SupervisedState, batch: Tree, key: Key, h: Setting):
        x, y = _pair("data.train", batch)
        if augment is not None:
            x, y = _pair("what augment returns", augment(jax.random.fold_in(key, AUGMENT), x, y, h))

        def objective(params):
            outputs, rest = face.train(params, state.rest, x, key, h)
            return measures["loss"](outputs, y, h), _carried(state.rest, rest)

        point = evaluation_params(state.params, state.opt_state)
        (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(point)
        transform = optax.with_extra_args_support(optimizer(h))
        extra = {"value": value, "grad": grads, "value_fn": lambda params: objective(params)[0]}
        with declared(face.axes(key, h)):
            updates, opt_state = transform.update(grads, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        return SupervisedState(params, rest, opt_state), {"loss": value}

    def evaluate(state: SupervisedState, data: Any, h: Setting):
        x, y = _pair("data.validation", data.validation)
        outputs = predict(state, x, h)
        return {f"validation_{name}": measure(outputs, y, h) for name, measure in measures.items()}

    def predict(state: SupervisedState, inputs: Tree, h: Setting):
        return face.predict(final_params(state.params, state.opt_state), state.rest, inputs, h)

    return Task(init, step, evaluate, predict)


def _check_functions(functions: Any) -> None:
    if not isinstance(functions, Mapping):
        raise ValueError(f"metrics must be a dict from names to functions, got {brief(functions)}")
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f"{name} must be a function, got {brief(function)}")


def _pair(name: str, examples: Any) -> tuple[Any, Any]:
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(f"{name} must be a pair of inputs and targets, got {jax.tree.structure(examples)}")
    return examples[0], examples[1]


def _with_setting(measure: Measure) -> Measure:
    """``(outputs, targets, h) -> scalar``, whether or not the measure wants the setting."""
    if "h" in inspect.signature(measure).parameters:
        return lambda outputs, targets, h: measure(outputs, targets, h=h)
    return lambda outputs, targets, _: measure(outputs, targets)


def _carried(before: Tree, after: Tree) -> Tree:
    """What goes on to the next step: the entries of ``before``, with their dtypes; what a step sowed is dropped."""
    return {
        name: _carried(old, after[name]) if isinstance(old, dict) else jnp.asarray(after[name]).astype(old.dtype)
        for name, old in before.items()
    }


class _Face(NamedTuple):
    """What a task needs of a module, whichever flax it comes from."""

    init: Callable[[Key, Setting], tuple[Tree, Tree]]  # -> params, rest
    train: Callable[..., tuple[jax.Array, Tree]]  # (params, rest, x, key, h) -> outputs, rest
    predict: Callable[..., jax.Array]  # (params, rest, x, h) -> outputs
    axes: Callable[[Key, Setting], dict[str, int]]  # where the units are, which a dict of arrays does not tell


def _nnx_face(build: Callable[[Setting, nnx.Rngs], nnx.Module]) -> _Face:
    """The module is built anew in each step and given its state; XLA drops the initial weights that this makes.

    Nothing of a module but arrays is carried from step to step, so it may hold functions and traced numbers, and
    its random streams start from the step's own key.
    """

    def built(h, key):
        module = build(h, nnx.Rngs(key))
        if not isinstance(module, nnx.Module):
            raise ValueError(f"model must return a flax.nnx module for (h, rngs), got {type(module)}")
        return module

    def parts(module):
        _, params, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def restored(params, rest, key, h):
        module = built(h, key)
        nnx.update(module, nnx.State(params), nnx.State(rest))
        return module

    def train(params, rest, x, key, h):
        module = restored(params, rest, key, h)
        module.train()
        outputs = module(x)
        return outputs, parts(module)[1]

    def predict(params, rest, x, h):
        module = restored(params, rest, jax.random.key(0), h)
        module.eval()
        return module(x)

    def axes(key, h):
        return declared_axes(nnx.state(built(h, key), nnx.Param))

    return _Face(lambda key, h: parts(built(h, key)), train, predict, axes)


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
        example = jax.tree.map(jnp.asarray, inputs)
        variables = dict(module.init(key, example, **flags(module, training=False)))
        variables.pop("intermediates", None)
        return variables.pop("params", {}), variables

    def train(params, rest, x, key, h):
        module = build(h)
        outputs, rest = module.apply(
            {"params": params, **rest},
            x,
            **flags(module, training=True),
            rngs={"params": key, "dropout": jax.random.fold_in(key, 1)},  # other streams fall back to "params"
            mutable=list(rest),
        )
        return outputs, dict(rest)

    def predict(params, rest, x, h):
        module = build(h)
        outputs: Any = module.apply({"params": params, **rest}, x, **flags(module, training=False))
        return outputs

    return _Face(init, train, predict, lambda *_: {})
