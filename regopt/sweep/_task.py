"""From a flax module and an optimizer to the pure functions that a sweep trains."""

import functools
import inspect
import zlib
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from regopt._core.checks import check_choice, check_optimizer, takes
from regopt._core.messages import brief
from regopt._core.metrics import mode_of
from regopt._core.protocols import evaluation_params, final_params
from regopt._core.types import InBatches, Key, Mode, Setting, Task, Tree
from regopt._core.units import declared
from regopt.data import Splits
from regopt.sweep._examples import check_scalar, checked_examples
from regopt.sweep._faces import (
    Face,
    LinenModel,
    NnxModel,
    Trainable,
    check_model,
    computed_in,
    is_linen,
    linen_face,
    nnx_face,
)
from regopt.sweep._frozen import Frozen

Measure = Callable[..., jax.Array]  # (outputs, targets) -> scalar, or (outputs, targets, h)
Rule = Callable[[Setting], optax.GradientTransformation]  # h -> optimizer
Augment = Callable[[Key, Tree, Tree, Setting], tuple[Tree, Tree]]  # (key, x, y, h) -> x, y
# folded into the key of a step; far from the counts that the random streams of a module fold in
AUGMENT = np.uint32(zlib.crc32(b"augment"))


class SupervisedState(NamedTuple):
    """The state of a supervised task."""

    params: Tree  # plain nested dict; the model is regopt.final_params(params, opt_state)
    rest: Tree  # the other arrays of the module: batch statistics, a dropout rate
    opt_state: Tree


def supervised(
    model: NnxModel | LinenModel,
    loss: Measure,
    optimizer: Rule,
    *,
    metrics: Mapping[str, Measure] | None = None,
    inputs: Tree = None,
    augment: Augment | None = None,
    trainable: Trainable = None,
    pretrained: Tree = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Task:
    """The task of minimising ``loss(model(x), y)`` over batches ``(x, y)`` in the parameters of ``model``.

    The evaluation reports ``validation_loss`` and a ``validation_<name>`` for each metric, on ``data.validation`` with
    noise off. A step reports ``loss`` on its batch with noise on, at the evaluation point of the optimizer. The
    predictions are the outputs that the evaluation measures: noise off, with the final parameters of the optimizer.

    Args:
        model: ``(h, rngs) -> flax.nnx.Module``; or a ``flax.linen`` module, or ``h -> flax.linen`` module. It is called
            as ``module(x)``. If its ``__call__`` has an argument ``train``, ``training``, ``is_training`` or
            ``deterministic``, that tells it whether it trains; ``train()`` and ``eval()`` of an nnx module do so too.
        loss: ``(outputs, targets) -> scalar``, a mean over the batch; with a third argument named ``h`` it also gets
            the setting, which may hold the weight of a term.
        optimizer: ``h -> optimizer``, where ``h`` is the dict of the numbers and static values of one setting. The
            update gets ``value``, ``grad`` and ``value_fn`` of the loss of the batch as extra arguments, for line
            searches and second-order methods.
        metrics: further functions of the same form, by name. An evaluation in batches (``eval_batch_size``) averages
            them over the batches; ``losses.from_means`` and ``losses.at_once`` declare metrics for which that average
            would be wrong. ``losses.metric`` declares whether a smaller or a larger value of one is better, for a run
            that monitors it.
        inputs: an example of ``x``, needed by linen modules, which learn their shapes from it.
        augment: ``(key, x, y, h) -> (x, y)``, what a step trains on in place of its batch: images turned, labels made
            noisy, examples mixed. The evaluation uses the data as they are.
        trainable: which parameters are trained; the others are frozen. They are held once on each device, whatever the
            number of settings, and the state of a setting has none of them. Given as a path pattern such as
            ``"head/**"``, several patterns, a mapping from patterns to bools, an nnx filter such as ``nnx.LoRAParam``,
            or the name of a collection of a linen module. None trains all. The values of frozen parameters are those of
            an nnx module that ``model`` closes over, which is not changed, or those of ``pretrained``.
        pretrained: trained parameters by the names that the model has for them, a nested dict of arrays, in place of
            its initial ones; a linen module, which holds no arrays, needs it for what is frozen.
        precision: "bfloat16" computes the model in bfloat16, in training and in evaluation: the parameters and the
            floating inputs are rounded for each pass, and the outputs are float32 again before the loss. The parameters
            themselves, their gradients, the optimizer and the other arrays of the module keep their dtypes. "float32"
            rounds nothing; the dtypes of the model and the data decide.

    Returns:
        The task. Its random streams (dropout and the like) are derived from the key of each step, so the engine decides
        whether lanes share their noise.

    Raises:
        ValueError: ``model``, ``loss``, ``optimizer`` or a metric is not a function of the form above, a linen module
            comes without ``inputs``, a metric is named ``loss``, ``pretrained`` comes without ``trainable``, or
            ``precision`` is neither of the two.

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
    _check_functions({"model": model, "loss": loss})
    rule = _rule(optimizer)
    given = _measures_of(loss, metrics)
    measures = {name: _with_setting(name, measure) for name, measure in given.items()}
    face = _face_of(model, inputs, trainable, precision)
    frozen = _frozen(face, trainable, pretrained)

    def whole(params: Tree, h: Setting) -> Tree:
        return params if frozen is None else frozen.join(params, h)

    def init(key: Key, h: Setting) -> SupervisedState:
        params, rest = face.init(key, h)
        if frozen is not None:
            params = frozen.start(key, h)
        with declared(face.axes(key, h)):
            return SupervisedState(params, rest, rule(h).init(params))

    def step(state: SupervisedState, batch: Tree, key: Key, h: Setting):
        x, y = _pair("data.train", batch)
        if augment is not None:
            x, y = _pair("what augment returns", augment(jax.random.fold_in(key, AUGMENT), x, y, h))

        def objective(params):
            outputs, rest = face.train(whole(params, h), state.rest, x, key, h)
            return check_scalar(measures["loss"](outputs, y, h)), _carried(state.rest, rest)

        point = evaluation_params(state.params, state.opt_state)
        (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(point)
        transform = optax.with_extra_args_support(rule(h))
        extra = {"value": value, "grad": grads, "value_fn": lambda params: objective(params)[0]}
        with declared(face.axes(key, h)):
            updates, opt_state = transform.update(grads, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        return SupervisedState(params, rest, opt_state), {"loss": value}

    def evaluate(state: SupervisedState, data: Splits, h: Setting):
        return in_batches.finish(*in_batches.measure(state, data, h), data, h)

    def predict(state: SupervisedState, inputs: Tree, h: Setting):
        return face.predict(whole(final_params(state.params, state.opt_state), h), state.rest, inputs, h)

    parts = {"model": model, "loss": loss, "optimizer": optimizer, "augment": augment, "precision": precision}
    parts |= {f"metrics.{name}": metric for name, metric in (metrics or {}).items()}
    in_batches = _measured_in_batches(predict, measures, given)
    evaluate.in_batches = in_batches  # type: ignore[attr-defined]
    check = checked_examples(init, predict, measures["loss"], given)
    return Task(init, step, evaluate, predict, lambda: parts, _modes_of(given), check, frozen)


def _rule(optimizer: Rule) -> Rule:
    """The function ``optimizer``, checked; what it returns is checked where it is called."""
    if not callable(optimizer):
        form = 'a function of the setting, as in lambda h: regopt.adam(h["learning_rate"])'
        raise ValueError(f"optimizer must be {form}, got {brief(optimizer)}")

    def rule(h: Setting) -> optax.GradientTransformation:
        given = optimizer(h)
        check_optimizer("what optimizer returns", given)
        return given

    return rule


def _measures_of(loss: Measure, metrics: Mapping[str, Measure] | None) -> dict[str, Measure]:
    """The loss and the metrics by name."""
    _check_functions({} if metrics is None else metrics)
    if "loss" in (metrics or {}):
        raise ValueError("metrics must not be named loss, the evaluation reports the loss by that name")
    return {"loss": loss, **(metrics or {})}


def _modes_of(measures: Mapping[str, Measure]) -> dict[str, Mode]:
    """The direction of each metric of the evaluation that declares one; the loss is minimised."""
    declared: dict[str, Mode | None] = {name: mode_of(measure) for name, measure in measures.items()}
    declared["loss"] = "min"
    return {f"validation_{name}": mode for name, mode in declared.items() if mode is not None}


def _face_of(model: NnxModel | LinenModel, inputs: Tree, trainable: Trainable, precision: str) -> Face:
    """The functions of a model, computed in a precision."""
    check_model(model)
    check_choice("precision", precision, ("float32", "bfloat16"))
    if is_linen(model):
        face = linen_face(model, inputs, trainable)
    else:
        face = nnx_face(cast(NnxModel, model), shares=trainable is not None)
    return computed_in(face, jnp.bfloat16) if precision == "bfloat16" else face


def _frozen(face: Face, trainable: Trainable, pretrained: Tree) -> Frozen | None:
    if trainable is None:
        if pretrained is not None:
            raise ValueError("pretrained needs trainable, which says what is trained further")
        return None
    return Frozen(lambda key, h: face.init(key, h)[0], face.chosen(trainable), pretrained)


def _measured_in_batches(
    predict: Callable[..., Tree], measures: Mapping[str, Measure], given: Mapping[str, Measure]
) -> InBatches:
    """The evaluation of a supervised task in batches: each metric is combined over the batches as it declares."""
    reductions = {
        name: reduction for name in given if (reduction := getattr(given[name], "reduction", None)) is not None
    }
    statistics = {
        name: measure if name not in reductions else _with_setting(name, reductions[name].statistics)
        for name, measure in measures.items()
        if name not in reductions or reductions[name].statistics is not None
    }
    needs_all = len(statistics) < len(measures)

    def measure(state: SupervisedState, data: Splits, h: Setting):
        x, y = _pair("data.validation", data.validation)
        # without the barrier XLA merges the model and the metrics into one loop for a CPU, which is slower than two
        outputs = jax.lax.optimization_barrier(predict(state, x, h))
        means = {name: statistic(outputs, y, h) for name, statistic in statistics.items()}
        return means, (outputs, y) if needs_all else ()

    def finish(means: Mapping[str, jax.Array], rows: Tree, data: Splits, h: Setting):
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


def _with_setting(name: str, measure: Measure) -> Measure:
    """The measure as a function ``(outputs, targets, h) -> scalar``, whether or not it uses the setting."""
    given = inspect.signature(measure)
    if not takes(measure if "h" not in given.parameters else functools.partial(measure, h=None), 2):
        raise ValueError(f"{name} must be called as {name}(outputs, targets), got {name}{given}")
    if "h" in given.parameters:
        return lambda outputs, targets, h: measure(outputs, targets, h=h)
    return lambda outputs, targets, _: measure(outputs, targets)


def _carried(before: Tree, after: Tree) -> Tree:
    """The entries of ``before`` with their new values and old dtypes; what a step has sowed is dropped."""
    return {
        name: _carried(old, after[name]) if isinstance(old, dict) else jnp.asarray(after[name]).astype(old.dtype)
        for name, old in before.items()
    }
