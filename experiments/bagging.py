"""What is an average of models worth, and when?

The mean squared error of k members with the variance v and the covariance c of their errors is v / k + (k - 1) / k c:
nothing is gained where they err alike. Bootstrap samples make members that differ, each of which has seen 63 % of the
examples. Bagging trees leaves the bias and lowers the variance; the table of scikit-learn's example is reproduced to
its printed decimals. Last, networks on handwritten digits: one, the ends of the cycles of one run, dropout's masks,
bags, and independent runs.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field
from scipy import stats
from sklearn.ensemble import BaggingRegressor
from sklearn.tree import DecisionTreeRegressor

import regopt
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, note, paired_interval, plain_ticks
from regopt import ensembles, noise
from regopt.data import digits
from regopt.experiment import Claim

BOOK = "Goodfellow et al. (2016), equation (7.50)"
TABLE = "scikit-learn, example plot_bias_variance, printed output"
EFRON = "Efron (1979); Goodfellow et al. (2016), section 7.11"
HUANG = "measured, paired runs on digits"
CONDORCET = "binomial distribution; the jury theorem of Condorcet"
HESKES = "Heskes (1998)"
BREIMAN = "Breiman (2001), section 3.1"
PRINTED = {"tree": (0.0255, 0.0003, 0.0152, 0.0098), "bagging": (0.0196, 0.0004, 0.0092, 0.0098)}
PARTS = ("error", "squared bias", "variance", "noise")
METHODS = ("one network", "snapshots", "dropout's masks", "bagging", "other starts")
MEMBERS = (1, 2, 4, 8, 16, 32)
SIZES = (1, 2, 5, 10, 50, 200)
VOTERS, RIGHT = 21, 0.7  # how many vote, and how often each is right
SETS, BAGS = 12, 25  # training sets of 50 examples, and trees for each
CORRELATIONS = (0.0, 0.3, 0.7, 1.0)


@dataclass(frozen=True)
class Config:
    """Errors of members, bootstrap samples, trees, and networks.

    Attributes:
        draws: number of draws of the members' errors, and of bootstrap samples.
        examples: training images of the networks.
        members: networks in an ensemble.
        cycle: training steps of one cycle of the snapshots; other networks train for as many cycles as members.
        width: hidden units of a network.
        rate: rate of dropout.
        repeats: number of paired repetitions of the networks.
        gains: ensembles that are claimed to be better than one network beyond the noise of the repetitions.
        unclear: ensembles that are claimed not to be better than one network beyond this noise.
        seed: random seed of all but the table, which has its own.
    """

    draws: Annotated[int, Field(ge=100)] = 40000
    examples: Annotated[int, Field(ge=50, le=1000)] = 300
    members: Annotated[int, Field(ge=2)] = 5
    cycle: Annotated[int, Field(ge=10)] = 100
    width: Annotated[int, Field(ge=2)] = 32
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.3
    repeats: Annotated[int, Field(ge=3)] = 40
    gains: tuple[Literal["snapshots", "dropout's masks", "bagging", "other starts"], ...] = ("other starts",)
    unclear: tuple[Literal["snapshots", "dropout's masks", "bagging", "other starts"], ...] = ("snapshots",)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """The error of an average, the share of unique examples, the table of trees, and networks on digits."""
    stream = np.random.default_rng(config.seed)
    found = _averages(config, stream) | _unique(config, stream) | _trees() | _combiners(config, stream)
    networks_key, bag_key = jax.random.split(key)
    return found | _networks(config, stream, networks_key) | _out_of_bag(stream, bag_key)


def _averages(config, stream):
    """Mean squared errors of averages of normal errors, ``[correlations, members]``, and their standard errors."""
    common, own = stream.normal(size=(config.draws, 1, 1)), stream.normal(size=(config.draws, 1, MEMBERS[-1]))
    c = np.array(CORRELATIONS)[:, None]
    errors = np.sqrt(c) * common + np.sqrt(1 - c) * own
    squares = np.stack([np.square(errors[..., :k].mean(axis=2)) for k in MEMBERS], axis=2)
    return {"averages": squares.mean(axis=0), "averages_error": squares.std(axis=0) / np.sqrt(config.draws)}


def _unique(config, stream):
    """The mean share of the examples in a bootstrap sample, by their number."""

    def share(n):
        rows = stream.integers(n, size=(config.draws // 10, n))
        seen = np.zeros((len(rows), n), bool)
        seen[np.arange(len(rows))[:, None], rows] = True
        return seen.mean(axis=1)

    found = [share(n) for n in SIZES]
    return {
        "unique": np.array([each.mean() for each in found]),
        "unique_error": np.array([each.std() / np.sqrt(len(each)) for each in found]),
    }


def _combiners(config, stream):
    """How often the majority of independent voters is right, and what two means of probabilities cost and gain."""
    right = stream.uniform(size=(VOTERS, config.draws // 10)) < RIGHT
    votes = jax.jit(ensembles.majority_vote)(np.stack([right, ~right], axis=-1).astype(np.float32))
    p = (stream.dirichlet(np.full(10, 0.5), size=(5, 1000)) + 1e-3).astype(np.float32)  # of members
    p = p / p.sum(axis=-1, keepdims=True)  # the label is class 0
    mean_loss = -np.log(p[..., 0]).mean(axis=0)
    variance = -np.log(np.exp(np.log(p).mean(axis=0)).sum(axis=-1))
    means = (ensembles.geometric_mean, ensembles.arithmetic_mean)
    geometric, arithmetic = (-np.log(np.asarray(jax.jit(mean)(p))[:, 0]) for mean in means)
    return {
        "majority": np.mean(np.asarray(votes)[:, 0] > 0.5, dtype=float),
        "geometric_gap": np.max(np.abs(mean_loss - variance - geometric)),
        "arithmetic_gain": np.min(mean_loss - arithmetic),
    }


def _truth(x):
    return np.exp(-(x**2)) + 1.5 * np.exp(-((x - 2) ** 2))


def _out_of_bag(stream, key):
    """Mean squared errors of bagged trees: out of the bag, on new examples, and on their own, ``[3, sets]``."""
    out_of_bag = jax.jit(ensembles.out_of_bag)
    method = ensembles.bagging(ensembles.from_estimator(DecisionTreeRegressor()), members=BAGS)

    def draw(n):
        x = stream.uniform(-5, 5, n)
        return x[:, None], _truth(x) + stream.normal(0.0, 0.1, n)

    rows = []
    for each in jax.random.split(key, SETS):
        (x, y), (new_x, new_y) = draw(50), draw(500)
        bagged = method.fit(each, jnp.asarray(x), jnp.asarray(y))
        own, new = method.predict(bagged, jnp.asarray(x)), method.predict(bagged, jnp.asarray(new_x))
        left_out = np.asarray(out_of_bag(own, bagged.counts))
        errors = (left_out - y, np.asarray(new).mean(axis=0) - new_y, np.asarray(own).mean(axis=0) - y)
        rows.append([np.nanmean(np.square(error)) for error in errors])
    return {"bag_errors": np.array(rows, float).T}


def _trees():
    """The decomposition in the table of scikit-learn's example, with its order of draws; ``[2, 4]``, and curves."""
    repeats, train, test, deviation = 50, 50, 1000, 0.1
    stream = np.random.RandomState(0)

    def generate(n, copies):
        x = np.sort(stream.rand(n) * 10 - 5)
        return x, np.stack([_truth(x) + stream.normal(0.0, deviation, n) for _ in range(copies)], axis=1)

    samples = [generate(train, 1) for _ in range(repeats)]
    x, y = generate(test, repeats)
    rows, curves = [], {}
    tree = DecisionTreeRegressor(random_state=stream)
    for name, model in (("tree", tree), ("bagging", BaggingRegressor(DecisionTreeRegressor(), random_state=stream))):
        found = np.stack([model.fit(a[:, None], b[:, 0]).predict(x[:, None]) for a, b in samples], axis=1)
        error = np.mean((y[:, :, None] - found[:, None]) ** 2)
        bias = np.mean((_truth(x) - found.mean(axis=1)) ** 2)
        rows.append([error, bias, found.var(axis=1).mean(), y.var(axis=1).mean()])
        curves[f"curve, {name}"] = found[:, :10]
    return {"table": np.array(rows), "x": x, "truth": _truth(x), **curves}


def _networks(config, stream, key):
    """Error rates on the images left, ``[repeats, methods]``, all trained for the same number of steps a network."""
    data = digits()
    x, y = data.train
    test = [np.concatenate(parts) for parts in zip(data.validation, data.test, strict=True)]  # no choice is made on any

    @jax.jit
    @jax.vmap
    def errors(key, rows, starts, counts):
        return _methods(config, key, starts, counts, jnp.asarray(x)[rows], jnp.asarray(y)[rows], *test)

    drawn = jax.tree.map(lambda *each: np.stack(each), *[_draws(config, stream, len(x)) for _ in range(config.repeats)])
    return {"network_errors": np.asarray(errors(jax.random.split(key, config.repeats), *drawn), float)}


def _draws(config, stream, images):
    """Training rows, starts ``[2 + members]`` of dropout, of one network and of the others, and weights of bags."""
    n, width = config.examples, config.width

    def start(*shape):  # He's
        return stream.normal(scale=np.sqrt(2 / shape[0]), size=(config.members + 2, *shape)).astype(np.float32)

    starts = {
        "w": start(64, width),
        "b": np.zeros((config.members + 2, width), np.float32),
        "v": start(width, 10),
    }
    bags = stream.integers(n, size=(config.members, n))
    counts = np.stack([np.bincount(bag, minlength=n) for bag in bags]) / n
    return stream.permutation(images)[:n], starts, counts.astype(np.float32)


def _methods(config, key, starts, counts, x, y, test_x, test_y):
    mask_key, test_key = jax.random.split(key)
    even = jnp.full(len(x), 1 / len(x))

    def train(place, schedule, weights, rate=0.0):
        """The parameters at the end of each cycle."""
        optimizer = regopt.heavy_ball(schedule, 0.9)

        def step(carry, count):
            params, state = carry

            def loss(params):
                log_p = jax.nn.log_softmax(_logits(params, x, rate, jax.random.fold_in(mask_key, count)))
                return -jnp.sum(weights * jnp.take_along_axis(log_p, y[:, None], axis=1)[:, 0])

            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return jax.tree.map(jnp.add, params, updates), state

        start = jax.tree.map(lambda leaf: leaf[place], starts)
        ends, _ = ensembles.snapshots(step, (start, optimizer.init(start)), cycle=config.cycle, members=config.members)
        return ends

    def probabilities(params):
        return jax.nn.softmax(_logits(params, test_x))

    def error(p):
        return jnp.mean(jnp.argmax(p, axis=1) != test_y)

    def last(params):
        return jax.tree.map(lambda leaf: leaf[-1], params)

    one_cycle = regopt.schedules.cosine(0.2, config.members * config.cycle)
    cycles = train(1, ensembles.snapshot_schedule(0.2, config.cycle), even)
    dropped = last(train(0, one_cycle, even, config.rate))
    masks, _ = noise.monte_carlo(
        lambda key: jax.nn.softmax(_logits(dropped, test_x, config.rate, key)), test_key, samples=20
    )
    # one program for all that differ in a start and in weights
    places = np.r_[1, np.tile(np.arange(2, config.members + 2), 2)]
    weights = jnp.concatenate([even[None], counts, jnp.tile(even, (config.members, 1))])
    ends = jax.vmap(lambda place, weights: probabilities(last(train(place, one_cycle, weights))))(places, weights)
    single, bags, others = ends[0], ends[1 : config.members + 1], ends[config.members + 1 :]
    mean = ensembles.arithmetic_mean
    found = (single, mean(jax.vmap(probabilities)(cycles)), masks, mean(bags), mean(others))
    return jnp.stack([error(p) for p in found])


def _logits(params, x, rate=0.0, key=None):
    hidden = jax.nn.relu(x @ params["w"] + params["b"][None])
    return (hidden if key is None or rate == 0 else noise.dropout(key, hidden, rate)) @ params["v"]


def figure(config, arrays):
    """The error of an average, a bootstrap sample, trees and their average, and networks."""
    drawing = Figure(figsize=(12, 8), layout="constrained")
    axes = drawing.subplots(2, 2)
    _draw_averages(axes[0, 0], arrays)
    _draw_unique(axes[0, 1], arrays)
    _draw_trees(axes[1, 0], arrays)
    _draw_networks(axes[1, 1], config, arrays)
    return drawing


def _draw_averages(axes, arrays):
    k = np.geomspace(1, MEMBERS[-1], 100)
    for row, (c, color) in enumerate(zip(CORRELATIONS, (BLUE, GREEN, ORANGE, RED), strict=True)):
        axes.plot(k, 1 / k + (k - 1) / k * c, color=color)
        axes.plot(MEMBERS, arrays["averages"][row], "o", color=color)
        note(axes, f"c = {c:g}v", (MEMBERS[-1], c + (1 - c) / MEMBERS[-1]), color, (8, 0), va="center")
    axes.set(xscale="log", xlim=(0.9, 70), ylim=(0, 1.12), xlabel="members k", ylabel="squared error / v")
    axes.set_title("an average of members whose errors have the covariance c\nlines: v/k + (k-1)/k c", fontsize=11)
    plain_ticks(axes.xaxis, MEMBERS)


def _draw_unique(axes, arrays):
    n = np.geomspace(1, SIZES[-1], 200)
    axes.plot(n, 1 - (1 - 1 / n) ** n, color=BLUE)
    axes.plot(SIZES, arrays["unique"], "o", color=BLUE)
    axes.axhline(1 - np.exp(-1), color=GREY, ls=":")
    note(axes, "1 - 1/e = .632", (1.1, 1 - np.exp(-1)), GREY, (0, 4))
    axes.set(xscale="log", xlabel="examples n", ylabel="share", ylim=(0.55, 1.03))
    axes.set_title("examples that a bootstrap sample contains\nline: 1 - (1 - 1/n)^n", fontsize=11)
    plain_ticks(axes.xaxis, (1, 10, 100))


def _draw_trees(axes, arrays):
    for shift, (name, color) in enumerate((("tree", RED), ("bagging", BLUE))):
        curves = arrays[f"curve, {name}"] - 2.2 * shift
        axes.plot(arrays["x"], curves, color=color, lw=0.5, alpha=0.5)
        axes.plot(arrays["x"], arrays["truth"] - 2.2 * shift, color=BLACK, lw=1.5)
        error, bias, variance, _ = arrays["table"][shift]
        what = "one tree" if name == "tree" else "ten bagged trees"
        words = f"{what}: error {error:.4f}\nbias² {bias:.4f}\nvariance {variance:.4f}"
        axes.text(-5.2, 0.8 - 2.2 * shift, words, color=color, fontsize=9)
    axes.set(xlabel="x", yticks=[], title="fits to ten training sets, and the truth (black)")


def _draw_networks(axes, config, arrays):
    errors = 100 * arrays["network_errors"]
    places = np.arange(len(METHODS))[::-1]
    reference = errors[:, 0]
    for place, name, values in zip(places, METHODS, errors.T, strict=True):
        color = GREY if name == METHODS[0] else BLUE
        axes.plot(
            values,
            np.full(len(values), place) + np.linspace(-0.15, 0.15, len(values)),
            "o",
            color=color,
            ms=3,
            alpha=0.5,
        )
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=color, lw=3)
    axes.axvline(reference.mean(), color=GREY, ls=":")
    changes = [_change(arrays, place) for place in range(1, len(METHODS))]
    names = [METHODS[0], *(f"{name}\n{m:+.2f} ± {h:.2f}" for name, (m, h) in zip(METHODS[1:], changes, strict=True))]
    axes.set_yticks(places, names)
    axes.set(xlabel="test error (%)")
    axes.set_title(
        f"networks on {config.examples} digits, {config.members} members, {config.repeats} paired repetitions\n"
        "bars: means; numbers: change, with its 95 % interval",
        fontsize=11,
    )


def claims(config, arrays):
    """The formula, the bootstrap, the table to its decimals, and what each ensemble of networks gains."""
    k, c = np.array(MEMBERS), np.array(CORRELATIONS)[:, None]
    expected = 1 / k + (k - 1) / k * c
    gaps = np.abs(arrays["averages"] / expected - 1)
    n = np.array(SIZES)
    result = [
        Claim("error of an average over v/k + (k-1)/k c, largest relative gap", BOOK, 0, float(gaps.max()), 0.05),
        Claim(
            "error of an average less v/k + (k-1)/k c, largest gap in standard errors",
            BOOK,
            4.5,
            float(np.max(np.abs(arrays["averages"] - expected) / arrays["averages_error"])),
            relation="at most",
        ),
        Claim(
            "share of unique examples in a bootstrap sample over 1 - (1 - 1/n)^n, largest relative gap",
            EFRON,
            0,
            float(np.max(np.abs(arrays["unique"] / (1 - (1 - 1 / n) ** n) - 1))),
            0.02,
        ),
        Claim(
            f"share of unique examples for n = {SIZES[-1]}, against 1 - 1/e",
            EFRON,
            0.632,
            float(arrays["unique"][-1]),
            0.005,
        ),
    ]
    for row, (name, values) in enumerate(PRINTED.items()):
        for part, printed, found in zip(PARTS, values, arrays["table"][row], strict=True):
            result.append(Claim(f"{name}: {part}", TABLE, printed, float(found), 5e-5))
    return [*result, *_combiner_claims(config, arrays), *_network_claims(config, arrays)]


def _combiner_claims(config, arrays):
    """The three combiners, and the out-of-bag error."""
    majority = float(stats.binom.sf(VOTERS // 2, VOTERS, RIGHT))
    error = float(np.sqrt(majority * (1 - majority) / (config.draws // 10)))
    bag, new, own = arrays["bag_errors"].mean(axis=1)
    return [
        Claim(f"majority of {VOTERS} independent voters, each right with probability {RIGHT}: share right", CONDORCET,
              majority, float(arrays["majority"]), 4 * error),
        Claim("geometric mean: cross-entropy less (members' mean less variance -log sum exp E log p), largest",
              HESKES, 0, float(arrays["geometric_gap"]), 1e-5),
        Claim("arithmetic mean: cross-entropy of the members' mean less that of the average, smallest", HESKES, -1e-6,
              float(arrays["arithmetic_gain"]), relation="at least"),
        Claim(f"bagged trees: out-of-bag error over the error on new examples, {SETS} training sets", BREIMAN, 1,
              float(bag / new), 0.25),
        Claim("bagged trees: error on their own training examples over that on new ones", BREIMAN, 0.5,
              float(own / new), relation="at most"),
    ]  # fmt: skip


def _network_claims(config, arrays):
    """What the config says of the paired differences to one network, by the upper ends of their intervals."""
    result = []
    for names, relation, words in (
        (config.gains, "at most", "better than one network"),
        (config.unclear, "at least", "not shown to be better than one network"),
    ):
        for name in names:
            mean, half = _change(arrays, METHODS.index(name))
            statement = f"{name}, {words}: change of the test error in points, mean {mean:+.2f}; upper end of its 95 %"
            result.append(Claim(f"{statement} interval", HUANG, 0, mean + half, relation=relation))
    return result


def _change(arrays, place):
    """Mean of the paired differences to one network in points, and half the width of its interval."""
    return paired_interval(100 * arrays["network_errors"][:, place], 100 * arrays["network_errors"][:, 0], 0.95)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
