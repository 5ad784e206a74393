"""Ray Tune on the settings of a sweep: an actor trains one setting at a time, and its ASHA prunes them."""

import logging
import tempfile
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from contenders import Job
from regopt.data import Splits, batch_indices


def segments_by_hand(config: Job, data: Splits):
    """``start(), segment(carry, number, rate, decay)``: AdamW on a multilayer perceptron, compiled once in an actor."""
    (x, y), (x_validation, y_validation) = (tuple(map(jnp.asarray, part)) for part in (data.train, data.validation))
    sizes = (x.shape[1], config.width, 10)
    keys = jax.random.split(jax.random.key(config.seed))
    normal = jax.nn.initializers.lecun_normal()

    def start():
        layers = zip(keys, sizes, sizes[1:], strict=False)
        params = [(normal(key, shape), jnp.zeros(shape[1])) for key, *shape in layers]
        return params, optax.scale_by_adam().init(params)

    def loss(params, x, y):
        (w1, b1), (w2, b2) = params
        logits = jax.nn.relu(x @ w1 + b1) @ w2 + b2
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def segment(carry, number, rate, decay):
        optimizer: Any = optax.adamw(rate, weight_decay=decay)
        order = batch_indices(
            jax.random.key(config.seed),
            number * config.eval_every,
            config.eval_every,
            examples=len(x),
            batch_size=config.batch_size,
        )

        def step(carry, rows):
            params, state = carry
            updates, adam = optimizer.update(jax.grad(loss)(params, x[rows], y[rows]), (state, *after), params)
            return (optax.apply_updates(params, updates), adam[0]), None

        after = optimizer.init(carry[0])[1:]
        carry, _ = jax.lax.scan(step, carry, order)
        return carry, loss(carry[0], x_validation, y_validation)

    return start, jax.jit(segment)


def tuned(config: Job, data: Splits, numbers: dict[str, np.ndarray], eta: float, workers: int) -> tuple[float, float]:
    """Train the settings with one core for each worker.

    Returns:
        Seconds from the first metric to the end, and from the first metric to the first setting that is pruned.
    """
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    pairs = list(zip(numbers["learning_rate"].tolist(), numbers["weight_decay"].tolist(), strict=True))
    host = jax.tree.map(np.asarray, data)

    class Training(tune.Trainable):
        def setup(self, config):
            if not hasattr(self, "segment"):
                self.begin, self.segment = segments_by_hand(job, host)
            self.pair, self.carry, self.done = config["pair"], self.begin(), 0

        def reset_config(self, new_config):
            self.setup(new_config)
            return True

        def step(self):
            self.carry, loss = self.segment(self.carry, self.done, *self.pair)
            self.done += 1
            return {"validation_loss": float(loss), "at": time.time(), "done": self.done == job.steps // job.eval_every}

        def save_checkpoint(self, checkpoint_dir):
            del checkpoint_dir  # nothing to keep

    class Timed(ASHAScheduler):
        first, pruned = np.inf, np.inf

        def on_trial_result(self, tune_controller, trial, result):
            decision = super().on_trial_result(tune_controller, trial, result)
            Timed.first = min(Timed.first, result["at"])
            if decision == self.STOP and not result["done"]:
                Timed.pruned = min(Timed.pruned, time.time())
            return decision

    job, evaluations = config, config.steps // config.eval_every
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        ray.init("local", num_cpus=workers, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        try:
            tune.Tuner(
                tune.with_resources(Training, {"cpu": 1}),
                param_space={"pair": tune.grid_search(pairs)},
                tune_config=tune.TuneConfig(
                    metric="validation_loss",
                    mode="min",
                    reuse_actors=True,
                    scheduler=Timed(max_t=evaluations, grace_period=1, reduction_factor=eta),
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
        finally:
            ray.shutdown()
    return time.time() - Timed.first, Timed.pruned - Timed.first
