"""The functions of a flax module that a task needs, the same for ``nnx`` and ``linen``."""

import functools
import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from regopt._core.checks import takes
from regopt._core.types import Key, Setting, Tree
from regopt._core.units import declared_axes
from regopt.sweep._frozen import Patterns, by_patterns, depending

NnxModel: TypeAlias = Callable[[Setting, nnx.Rngs], nnx.Module]
LinenModel: TypeAlias = linen.Module | Callable[[Setting], linen.Module]
_STREAMS = np.uint32(zlib.crc32(b"streams"))  # folded into the key of a step
Trainable: TypeAlias = Patterns | nnx.filterlib.Filter  # which parameters are trained


class Face(NamedTuple):
    """The functions of a module that a task needs, the same for both kinds of flax modules."""

    init: Callable[[Key, Setting], tuple[Tree, Tree]]  # -> params, rest
    train: Callable[..., tuple[jax.Array, Tree]]  # (params, rest, x, key, h) -> outputs, rest
    predict: Callable[..., jax.Array]  # (params, rest, x, h) -> outputs
    axes: Callable[[Key, Setting], dict[str, int]]  # by parameter: the axis of its units, which a plain dict loses
    chosen: Callable[[Trainable], Callable[[Key, Setting, Tree], Tree]]  # trainable -> (key, h, params) -> bools


def computed_in(face: Face, dtype: DTypeLike) -> Face:
    """The functions with their parameters and inputs rounded to a dtype, and outputs that are float32.

    The gradient goes through the rounding to the parameters as they are. The other arrays of the module, such as
    running means, are not rounded, because their small changes would be lost.
    """

    def train(params, rest, x, key, h):
        outputs, rest = face.train(_floating_as(dtype, params), rest, _floating_as(dtype, x), key, h)
        return _floating_as(jnp.float32, outputs), rest

    def predict(params, rest, x, h):
        return _floating_as(jnp.float32, face.predict(_floating_as(dtype, params), rest, _floating_as(dtype, x), h))

    return face._replace(train=train, predict=predict)


def _floating_as(dtype: DTypeLike, tree: Tree) -> Tree:
    def cast(x):
        return jnp.asarray(x).astype(dtype) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)


def nnx_face(build: NnxModel, *, shares: bool = False) -> Face:
    """The functions of an nnx module, which is built anew in each step and given its state.

    XLA drops the initial weights that the building makes. Only the arrays of a module are carried from step to step, so
    it may hold functions and traced numbers, and its random streams start from the key of the step, also where the
    module makes their keys itself.
    """

    def built(h, key):
        module = build(h, nnx.Rngs(key))
        if not isinstance(module, nnx.Module):
            fix = "models of other libraries train in a sweep.Task written by hand"
            raise ValueError(f"model must return a flax.nnx module for (h, rngs), got {type(module)}; {fix}")
        return module

    def parts(module):
        _, params, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def restored(params, rest, key, h):
        module = built(h, key)
        if shares:
            graph, _, streams, _ = nnx.split(module, nnx.Param, nnx.RngState, ...)
            streams = jax.tree.map(lambda x: x, streams)  # variables that this trace may change
            return nnx.merge(graph, nnx.State(params), streams, nnx.State(rest))
        nnx.update(module, nnx.State(params), nnx.State(rest))
        return module

    def train(params, rest, x, key, h):
        module = _with_streams_of(key, restored(params, rest, key, h), lambda key: built(h, key))
        module.train()
        outputs = module(x, **_flag(module, training=True))
        return outputs, parts(module)[1]

    def predict(params, rest, x, h):
        module = restored(params, rest, jax.random.key(0), h)
        module.eval()
        outputs: Tree = module(x, **_flag(module, training=False))
        return outputs

    def axes(key, h):
        return declared_axes(nnx.state(built(h, key), nnx.Param))

    def chosen(trainable):
        if isinstance(trainable, str | Mapping) or _are_patterns(trainable):
            return by_patterns(trainable)

        def by_filter(key, h, params):
            trained = nnx.state(built(h, key), nnx.All(nnx.Param, trainable))
            paths = flatten_dict(nnx.to_pure_dict(trained)).keys()
            return unflatten_dict({path: path in paths for path in flatten_dict(params)})

        return by_filter

    return Face(lambda key, h: parts(built(h, key)), train, predict, axes, chosen)


def _with_streams_of(key: Key, module: nnx.Module, built: Callable[[Key], nnx.Module]) -> nnx.Module:
    """The module; each random stream that its building does not take from its key has a key of its own in each step."""
    streams, structure = jax.tree.flatten(nnx.state(module, nnx.RngKey))
    if streams:
        keyed = depending(lambda key: jax.tree.leaves(nnx.state(built(key), nnx.RngKey)), key)
        own = jax.random.fold_in(key, _STREAMS)
        streams = [
            stream if its else jax.random.fold_in(own, number)
            for number, (stream, its) in enumerate(zip(streams, keyed, strict=True))
        ]
        nnx.update(module, structure.unflatten(streams))
    return module


def check_model(model: NnxModel | LinenModel) -> None:
    """Require a linen module, a function of a setting, or a function of a setting and keys."""
    if isinstance(model, linen.Module):
        return
    if isinstance(model, type) and issubclass(model, linen.Module):
        form = f"model must be a flax.linen module such as {model.__name__}(...), or a function of h that returns one"
        raise ValueError(f"{form}; got the class {model.__name__}")
    build = functools.partial(model.__init__, None) if isinstance(model, type) else model  # nnx hides the signature
    signature = inspect.signature(build)
    swapped = next(iter(signature.parameters), "") == "rngs" and takes(build, 2)
    if not isinstance(model, nnx.Module) and not swapped and (takes(build, 1) or takes(build, 2)):
        return
    if isinstance(model, type):
        got = f"the class {model.__name__}"
    else:
        got = f"the nnx module {type(model).__name__}" if isinstance(model, nnx.Module) else str(signature)
    form = "model must be called as model(h, rngs), as lambda h, rngs: Net(rngs=rngs) is, or be a flax.linen module"
    raise ValueError(f"{form}; got {got}")


def is_linen(model: NnxModel | LinenModel) -> TypeGuard[LinenModel]:
    """Whether the model is a linen module, or a function of the setting alone that returns one."""
    return isinstance(model, linen.Module) or len(inspect.signature(model).parameters) == 1


def linen_face(model: LinenModel, inputs: Tree, trainable: Trainable = None) -> Face:
    """The functions of a linen module.

    Its parameters are the collection "params"; if ``trainable`` names another collection, they are a dict of both.

    """
    if inputs is None:
        raise ValueError(
            "a flax.linen module learns its shapes from data: give supervised(..., inputs=x[:1]); "
            "for an nnx module, model must be a function of h and rngs"
        )

    named = trainable if isinstance(trainable, str) and trainable.isidentifier() else None
    collection = None if named == "params" else named

    def build(h):
        return model if isinstance(model, linen.Module) else model(h)

    def init(key, h):
        module = build(h)
        example = jax.tree.map(jnp.asarray, inputs)
        variables = dict(module.init(key, example, **_flag(module, training=False)))
        variables.pop("intermediates", None)
        if collection is None:
            return variables.pop("params", {}), variables
        if collection not in variables:
            raise ValueError(f"trainable must be a path pattern or one of {sorted(variables)}, got {collection!r}")
        return {name: variables.pop(name, {}) for name in ("params", collection)}, variables

    def train(params, rest, x, key, h):
        module = build(h)
        outputs, rest = module.apply(
            {**all_of(params), **rest},
            x,
            **_flag(module, training=True),
            rngs={"params": key, "dropout": jax.random.fold_in(key, 1)},  # other streams fall back to "params"
            mutable=list(rest),
        )
        return outputs, dict(rest)

    def predict(params, rest, x, h):
        module = build(h)
        outputs: Tree = module.apply({**all_of(params), **rest}, x, **_flag(module, training=False))
        return outputs

    def all_of(params):
        return {"params": params} if collection is None else params

    def chosen(trainable):
        return by_patterns(trainable if collection is None else f"{collection}/**")

    return Face(init, train, predict, lambda *_: {}, chosen)


def _flag(module: nnx.Module | linen.Module, training: bool) -> dict[str, Any]:
    """The argument of ``__call__`` that tells training from inference, by the names in common use."""
    names = inspect.signature(type(module).__call__).parameters
    told = {"train": training, "training": training, "is_training": training, "deterministic": not training}
    return {name: value for name, value in told.items() if name in names}


def _are_patterns(trainable: Trainable) -> TypeGuard[Sequence[str]]:
    return isinstance(trainable, list | tuple) and bool(trainable) and all(isinstance(x, str) for x in trainable)
