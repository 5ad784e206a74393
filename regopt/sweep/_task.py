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
from regopt.data import Splits
from regopt.training._checks import Mode, mode_of
from regopt.training._evaluation import InBatches
from regopt.training._examples import check_scalar, checked_examples

Setting = Mapping[str, Any]
Measure = Callable[..., jax.Array]  # (outputs, targets) -> scalar, or (outputs, targets, h)
Augment = Callable[[Key, Tree, Tree, Setting], tuple[Tree, Tree]]  # (key, x, y, h) -> x, y
# folded into the key of a step; far from the counts that the random streams of a module fold in
AUGMENT = np.uint32(zlib.crc32(b"augment"))


class SupervisedState(NamedTuple):
    """The state of a supervised task."""

    params: Tree  # plain nested dict; the model is regopt.final_params(params, opt_state)
    rest: Tree  # the other arrays of the module: batch statistics, a dropout rate
    opt_state: Tree


def supervised(
    model: Callable[..., Any] | linen.Module,
    loss: Measure,
    optimizer: Callable[[Setting], optax.GradientTransformation],
    *,
    metrics: Mapping[str, Measure] | None = None,
    inputs: Tree = None,
    augment: Augment | None = None,
) -> Task:
    """The task that trains ``model`` on batches ``(x, y)`` to a small ``loss(model(x), y)``.

    The evaluation reports ``validation_loss`` and a ``validation_<name>`` for each metric, on ``data.validation`` with
    noise off. A step reports ``loss`` on its batch with noise on, at the evaluation point of the optimizer. The
    predictions are the outputs that the evaluation measures: noise off, with the final parameters of the optimizer.

    Args:
        model: ``(h, rngs) -> flax.nnx.Module``; or a ``flax.linen`` module, or ``h -> flax.linen`` module.
        loss: ``(outputs, targets) -> scalar``, a mean over the batch; with a third argument named ``h`` it also gets
            the setting, for the weight of a task, say.
        optimizer: ``h -> optimizer``, where ``h`` is the dict of the numbers and static values of one setting. The
            update gets ``value``, ``grad`` and ``value_fn`` of the loss of the batch as extra arguments, for line
            searches and second-order methods.
        metrics: further such functions by name. An evaluation in batches (``eval_batch_size``) averages them over the
            batches; ``losses.from_means`` and ``losses.at_once`` declare those of which that would be wrong.
            ``losses.metric`` declares whether a smaller or a larger value of one is better, for a run that monitors it.
        inputs: an example of ``x``, needed by linen modules, which learn their shapes from it.
        augment: ``(key, x, y, h) -> (x, y)``, what a step trains on in place of its batch: images turned, labels made
            noisy, examples mixed. The evaluation uses the data as they are.

    Returns:
        The task. Its random streams (dropout and the like) are derived from the key of each step, so the engine decides
        whether lanes share their noise.

    Raises:
        ValueError: a linen module comes without ``inputs``, or a metric is named ``loss``.

    Example:
        >>> import numpy as np
        >>> import regopt
        >>> from flax import nnx
        >>> from regopt import losses, sweep
        >>> from regopt.data import Splits
        >>> task = sweep.supervised(
        ...     lambda h, rngs: nnx.Linear(1, 1, rngs=rngs),
        ...     losses.squared_error,
        ...     lambda h: regopt.sgd(h["learning_rate"]),
        ... )
        >>> x = np.linspace(-1.0, 1.0, 8, dtype=np.float32)[:, None]
        >>> data = Splits((x, 3.0 * x), (x, 3.0 * x))
        >>> settings = sweep.from_columns({"learning_rate": [0.01, 0.3]})
        >>> result = sweep.run(task, settings, data, steps=40, eval_every=20)
        >>> result.best().setting, result.predict(x[:1])[1].round(1).tolist()
        ({'learning_rate': 0.3}, [[-3.0]])

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.1, with any optimizer
        in place of stochastic gradient descent.
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
            return check_scalar(measures["loss"](outputs, y, h)), _carried(state.rest, rest)

        point = evaluation_params(state.params, state.opt_state)
        (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(point)
        transform = optax.with_extra_args_support(optimizer(h))
        extra = {"value": value, "grad": grads, "value_fn": lambda params: objective(params)[0]}
        with declared(face.axes(key, h)):
            updates, opt_state = transform.update(grads, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        return SupervisedState(params, rest, opt_state), {"loss": value}

    def evaluate(state: SupervisedState, data: Splits, h: Setting):
        return in_batches.finish(*in_batches.measure(state, data, h), data, h)

    def predict(state: SupervisedState, inputs: Tree, h: Setting):
        return face.predict(final_params(state.params, state.opt_state), state.rest, inputs, h)

    def parts() -> dict[str, object]:
        named: dict[str, object] = {"model": model, "loss": loss, "optimizer": optimizer, "augment": augment}
        return named | {f"metrics.{name}": metric for name, metric in (metrics or {}).items()}

    in_batches = _measured_in_batches(predict, measures, {"loss": loss, **(metrics or {})})
    evaluate.in_batches = in_batches  # type: ignore[attr-defined]
    directions: dict[str, Mode | None] = {name: mode_of(measure) for name, measure in (metrics or {}).items()}
    modes: dict[str, Mode] = {"validation_loss": "min"}
    for name, mode in directions.items():
        if mode is not None:
            modes[f"validation_{name}"] = mode
    check = checked_examples(init, predict, measures["loss"], {"loss": loss, **(metrics or {})})
    return Task(init, step, evaluate, predict, parts, modes, check)


def _measured_in_batches(
    predict: Callable[..., Any], measures: Mapping[str, Measure], given: Mapping[str, Any]
) -> InBatches:
    """The evaluation of a supervised task, in the parts that batches need: each metric as it declares."""
    reductions = {
        name: reduction for name in given if (reduction := getattr(given[name], "reduction", None)) is not None
    }
    statistics = {
        name: measure if name not in reductions else _with_setting(reductions[name].statistics)
        for name, measure in measures.items()
        if name not in reductions or reductions[name].statistics is not None
    }
    needs_all = len(statistics) < len(measures)

    def measure(state: SupervisedState, data: Splits, h: Setting):
        x, y = _pair("data.validation", data.validation)
        outputs = predict(state, x, h)
        means = {name: statistic(outputs, y, h) for name, statistic in statistics.items()}
        return means, (outputs, y) if needs_all else ()

    def finish(means: Mapping[str, Any], rows: Any, data: Splits, h: Setting):
        del data
        values = {name: means[name] if name in means else measures[name](*rows, h) for name in measures}
        finished = {name: reductions[name].finish(values[name]) for name in reductions}
        return {f"validation_{name}": value for name, value in (values | finished).items()}

    return InBatches(measure, finish)


def _check_functions(functions: object) -> None:
    if not isinstance(functions, Mapping):
        raise ValueError(f"metrics must be a dict from names to functions, got {brief(functions)}")
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f"{name} must be a function, got {brief(function)}")


def _pair(name: str, examples: Tree) -> tuple[Tree, Tree]:
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(f"{name} must be a pair of inputs and targets, got {jax.tree.structure(examples)}")
    return examples[0], examples[1]


def _with_setting(measure: Measure) -> Measure:
    """The measure as a function ``(outputs, targets, h) -> scalar``, whether or not it uses the setting."""
    if "h" in inspect.signature(measure).parameters:
        return lambda outputs, targets, h: measure(outputs, targets, h=h)
    return lambda outputs, targets, _: measure(outputs, targets)


def _carried(before: Tree, after: Tree) -> Tree:
    """The entries of ``before`` with their new values and old dtypes; what a step has sowed is dropped."""
    return {
        name: _carried(old, after[name]) if isinstance(old, dict) else jnp.asarray(after[name]).astype(old.dtype)
        for name, old in before.items()
    }


class _Face(NamedTuple):
    """The functions of a module that a task needs, the same for both kinds of flax modules."""

    init: Callable[[Key, Setting], tuple[Tree, Tree]]  # -> params, rest
    train: Callable[..., tuple[jax.Array, Tree]]  # (params, rest, x, key, h) -> outputs, rest
    predict: Callable[..., jax.Array]  # (params, rest, x, h) -> outputs
    axes: Callable[[Key, Setting], dict[str, int]]  # where the units are, which a dict of arrays does not tell


def _nnx_face(build: Callable[[Setting, nnx.Rngs], nnx.Module]) -> _Face:
    """The functions of an nnx module, which is built anew in each step and given its state.

    XLA drops the initial weights that the building makes. Only the arrays of a module are carried from step to step, so
    it may hold functions and traced numbers, and its random streams start from the key of the step.
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


def _is_linen(model: Callable[..., Any] | linen.Module) -> bool:
    """Whether the model is a linen module, or a function of the setting alone that returns one."""
    return isinstance(model, linen.Module) or len(inspect.signature(model).parameters) == 1


def _linen_face(model: Callable[..., Any] | linen.Module, inputs: Tree) -> _Face:
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
