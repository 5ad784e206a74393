"""Parameters that are not trained: the same for all settings, held once, and never changed."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import regopt
from regopt import sweep
from regopt.data import Splits
from regopt.losses import cross_entropy
from regopt.sweep.checkpoint import StoreError
from regopt.training import fit
from support.small_sweep import DATA, SCHEDULE, X, same_bits

SETTINGS = sweep.from_columns({"learning_rate": np.geomspace(0.01, 0.1, 5)})


class Classifier(nnx.Module):
    def __init__(self, trunk, rngs):
        self.trunk, self.head = trunk, nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.trunk(x)))


def trunk(seed=0):
    return nnx.Linear(6, 8, rngs=nnx.Rngs(seed))


def task(model, trainable, **options):
    return sweep.supervised(
        model, cross_entropy, lambda h: regopt.adamw(h["learning_rate"]), trainable=trainable, **options
    )


def head_over(body, trainable="head/**"):
    return task(lambda h, rngs: Classifier(body, rngs), trainable)


def run(task, settings=SETTINGS, **options):
    return sweep.run(task, settings, DATA, **(SCHEDULE | {"chunk": 3} | options))


@pytest.mark.parametrize(
    "trainable",
    ["head/**", ["head/kernel", "head/bias"], {"head/**": True, "trunk/**": False}, nnx.PathContains("head")],
)
def test_only_what_is_chosen_is_trained_and_is_in_a_lane(trainable):
    body = trunk()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(body)))
    result = run(head_over(body, trainable))
    state = result.state(0)
    assert state.params.keys() == {"head"}
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state)) < 2 * (8 * 3 + 3) + 4
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(body)), before)
    assert result.history.curves["train_loss"][4, -1] < result.history.curves["train_loss"][4, 0]


def test_a_task_with_frozen_parameters_travels_to_another_process():
    cloudpickle = pytest.importorskip("cloudpickle")
    sent = head_over(trunk())
    received = pickle.loads(cloudpickle.dumps(sent))
    same_bits(run(sent), run(received), slice(None))


@pytest.mark.parametrize("mapping", ["vmap", "map"])
def test_a_frozen_trunk_is_the_head_on_its_features(mapping):
    body = trunk()
    frozen = run(head_over(body), mapping=mapping)
    parts = [(np.asarray(jax.nn.relu(body(jnp.asarray(x)))), y) for x, y in (DATA.train, DATA.validation)]

    features = sweep.supervised(lambda h, rngs: Only(rngs), cross_entropy, lambda h: regopt.adamw(h["learning_rate"]))
    alone = sweep.run(features, SETTINGS, Splits(*parts), **(SCHEDULE | {"chunk": 3, "mapping": mapping}))
    for name, curve in alone.history.curves.items():
        np.testing.assert_allclose(frozen.history.curves[name], curve, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(frozen.predict(X[:2]), alone.predict(parts[0][0][:2]), rtol=2e-5)


class Only(nnx.Module):
    def __init__(self, rngs):
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(x)


def test_a_lane_does_not_grow_with_the_backbone():
    class Wide(nnx.Module):
        def __init__(self, width):
            self.up = nnx.Linear(6, width, rngs=nnx.Rngs(0))
            self.down = nnx.Linear(width, 8, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.down(self.up(x))

    small, large = (
        sweep.plan(head_over(Wide(width)), SETTINGS, DATA, **(SCHEDULE | {"chunk": 3})).groups[0].lane_bytes
        for width in (4, 4000)
    )
    assert small == large


def test_the_trunk_is_computed_once_for_all_lanes():
    """A product with frozen weights has no lane axis where the lanes share the batch."""
    body = trunk()
    made = head_over(body)
    h = {"learning_rate": jnp.float32(0.1)}
    frozen = made.frozen.values(h)
    states = jax.vmap(lambda rate: made.init(jax.random.key(0), {"learning_rate": rate}))(jnp.ones(4))

    def step(frozen, states, rates, batch):
        with made.frozen.bound(frozen):
            return jax.vmap(lambda s, rate: made.step(s, batch, jax.random.key(0), {"learning_rate": rate}))(
                states, rates
            )

    text = jax.jit(step).lower(frozen, states, jnp.ones(4), DATA.train).as_text()
    assert "tensor<40x6xf32>, tensor<6x8xf32>) -> tensor<40x8xf32>" in text
    assert "tensor<4x6x8xf32>" not in text


@pytest.mark.parametrize(("seed", "mapping"), [(None, "vmap"), ([0, 1, 2, 3], "map")])
@pytest.mark.parametrize("eval_every", [2, 4])
def test_lanes_that_share_a_large_trunk_run_at_once(seed, mapping, eval_every):
    body = nnx.Linear(600, 800, rngs=nnx.Rngs(0))

    class Wide(Classifier):
        def __init__(self, trunk, rngs):
            self.trunk, self.head = trunk, nnx.Linear(800, 3, rngs=rngs)

    columns = {"learning_rate": np.full(4, 0.01)} | ({} if seed is None else {"seed": seed})
    data = Splits(*((np.zeros((len(y), 600), np.float32), y) for _, y in (DATA.train, DATA.validation)))
    made = task(lambda h, rngs: Wide(body, rngs), "head/**")
    options = {"devices": jax.devices()[:1], "steps": 4, "eval_every": eval_every, "batch_size": 40}
    assert sweep.plan(made, sweep.from_columns(columns), data, **options).groups[0].mapping == mapping


def test_a_sweep_with_another_trunk_is_refused(tmp_path):
    first = run(head_over(trunk()), out=tmp_path)
    same_bits(first, run(head_over(trunk()), out=tmp_path), slice(None))
    with pytest.raises(StoreError, match="frozen"):
        run(head_over(trunk(1)), out=tmp_path)


def test_a_single_run_trains_the_same_part():
    made = head_over(trunk())
    done = fit(made, {"learning_rate": 0.05}, DATA, **SCHEDULE, key=jax.random.key(0))
    assert done.state.params.keys() == {"head"}


class LoRA(nnx.Module):
    """A frozen layer and a product of two thin matrices beside it."""

    def __init__(self, base, rank, rngs):
        self.base = base
        self.adapter = nnx.LoRA(base.in_features, rank, base.out_features, rngs=rngs)

    def __call__(self, x):
        return self.base(x) + self.adapter(x)


def test_lora_by_the_type_of_its_parameters():
    body = trunk()
    result = run(task(lambda h, rngs: Classifier(LoRA(body, 2, rngs), nnx.Rngs(5)), nnx.LoRAParam))
    assert jax.tree.map(np.shape, result.state(0).params) == {
        "trunk": {"adapter": {"lora_a": (6, 2), "lora_b": (2, 8)}}
    }
    assert result.history.curves["train_loss"][4, -1] < result.history.curves["train_loss"][4, 0]


class LinenClassifier(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Dense(8, name="trunk")(x))
        scale = self.variable("tuned", "scale", jnp.ones, 8)
        return linen.Dense(3, name="head")(x * scale.value[None])


@pytest.mark.parametrize(("trainable", "trained"), [("head/**", {"head"}), ("tuned", {"tuned"})])
def test_linen_modules_take_what_is_pretrained(trainable, trained):
    model = LinenClassifier()
    params = model.init(jax.random.key(3), X[:1])["params"]
    given = params if trainable == "head/**" else {"params": params}
    result = run(task(model, trainable, inputs=X[:1], pretrained=given))
    assert result.state(0).params.keys() == trained
    assert result.history.curves["train_loss"][4, -1] < result.history.curves["train_loss"][4, 0]


def fresh(h, rngs):
    return Classifier(nnx.Linear(6, 8, rngs=rngs), rngs)


def linen_task(trainable, pretrained):
    return task(LinenClassifier(), trainable, inputs=X[:1], pretrained=pretrained)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: task(lambda h, rngs: Classifier(nnx.Linear(6, 8, rngs=rngs), rngs), "head/**"),
            "frozen parameter trunk",
        ),
        (lambda: head_over(trunk(), "heads/**"), "trainable has a pattern that matches nothing, 'heads/\\*\\*'"),
        (lambda: head_over(trunk(), nnx.LoRAParam), "trainable must choose at least one parameter, got none"),
        (lambda: linen_task("tunes", None), "trainable must be a path pattern or one of"),
        (lambda: linen_task(None, {}), "pretrained needs trainable"),
        (
            lambda: task(
                LinenClassifier(), "head/**", inputs=X[:1], pretrained={"trunk": {"kernel": jnp.ones((2, 2))}}
            ),
            r"pretrained trunk/kernel must have shape \(6, 8\), got \(2, 2\)",
        ),
        (
            lambda: task(LinenClassifier(), "head/**", inputs=X[:1], pretrained={"trunks": X}),
            "pretrained has trunks, which",
        ),
    ],
)
def test_what_cannot_be_frozen_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as error:
        run(make())
    assert "\n" not in str(error.value)
