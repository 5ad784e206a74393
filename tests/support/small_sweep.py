"""A small task of supervised learning, its data and settings, for tests of the engine."""

import numpy as np

import regopt
from regopt import sweep
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1).astype(np.int32)
DATA = Splits((X[:40], Y[:40]), (X[40:], Y[40:]))
SCHEDULE = {"steps": 12, "eval_every": 4, "batch_size": 10}


def network(h, rngs):
    return MLP((6, h.get("width", 8), 3), rate=h.get("rate"), rngs=rngs)


def optimizer(h):
    return regopt.adamw(h["learning_rate"], weight_decay=h.get("weight_decay", 0.0))


TASK = sweep.supervised(network, cross_entropy, optimizer, metrics={"accuracy": accuracy})
NUMBERS = {"learning_rate": np.geomspace(1e-3, 0.3, 11), "weight_decay": np.geomspace(1e-3, 3.0, 11)}


def same_bits(a, b, rows):
    assert list(a.history.curves) == list(b.history.curves)
    for name, curve in a.history.curves.items():
        np.testing.assert_array_equal(curve[rows], b.history.curves[name][rows], err_msg=name)
