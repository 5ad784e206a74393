"""The digits job of the sweep benchmarks as people train it elsewhere: PyTorch, Optuna, Ray Tune, scikit-learn.

Every contender is ``train(pairs) -> validation losses`` for pairs of learning rate and weight decay, as a context that
holds its worker processes. Nested functions travel to them whole, so they must not refer to this module.
"""

import logging
import tempfile
import warnings
from contextlib import contextmanager

import numpy as np

from regopt.sweep.engine._devices import available_cores


def torch_training(config, data, order, threads):
    """``train(learning_rate, weight_decay) -> loss``: a loop over batches with the fused AdamW."""
    (x, y), (x_validation, y_validation) = data.train, data.validation
    width = config.width

    def train(learning_rate, weight_decay):
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=weight_decay, fused=True)
        loss = torch.nn.CrossEntropyLoss()
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y).long()
        others, other_labels = torch.from_numpy(x_validation), torch.from_numpy(y_validation).long()

        for rows in torch.from_numpy(order).long():
            optimizer.zero_grad()
            loss(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            return float(loss(model(others), other_labels))

    return train


@contextmanager
def joblib_torch(config, data, order):
    """A process on each core, each with one thread."""
    from joblib import Parallel, delayed, parallel_config

    train = torch_training(config, data, order, threads=1)
    with parallel_config(backend="loky", inner_max_num_threads=1), Parallel(n_jobs=available_cores()) as pool:
        yield lambda pairs: pool(delayed(train)(*pair) for pair in pairs)


@contextmanager
def optuna_torch(config, data, order):
    """Optuna's default sampler asks, one process with all cores trains; the pairs only say how many."""
    import optuna  # pyright: ignore[reportMissingImports]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    train = torch_training(config, data, order, threads=available_cores())

    def objective(trial):
        learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        return train(learning_rate, trial.suggest_float("weight_decay", 1e-3, 1.0, log=True))

    def tune(pairs):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        study.optimize(objective, n_trials=len(pairs))
        return [trial.value for trial in study.trials]

    yield tune


@contextmanager
def torch_func(config, data, order):
    """All pairs stacked: ``vmap(grad(loss))`` and AdamW on whole stacks, eagerly, with all cores."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.func import grad, vmap  # pyright: ignore[reportMissingImports]

    (x, y), (x_validation, y_validation) = data.train, data.validation
    x, y = torch.from_numpy(x), torch.from_numpy(y).long()
    x_validation, y_validation = torch.from_numpy(x_validation), torch.from_numpy(y_validation).long()
    batches = torch.from_numpy(order).long()

    def loss(params, x, y):
        hidden = torch.relu(x @ params["w1"] + params["b1"])
        return torch.nn.functional.cross_entropy(hidden @ params["w2"] + params["b2"], y)

    def stacked(pairs):
        torch.set_num_threads(available_cores())
        generator = torch.Generator().manual_seed(0)
        shapes = {"w1": (64, config.width), "b1": (config.width,), "w2": (config.width, 10), "b2": (10,)}
        scales = {"w1": 64**-0.5, "w2": config.width**-0.5, "b1": 0.0, "b2": 0.0}
        params, means, squares = {}, {}, {}
        for name, shape in shapes.items():
            one = scales[name] * torch.randn(shape, generator=generator)
            params[name] = one.expand(len(pairs), *shape).clone()
            means[name], squares[name] = torch.zeros_like(params[name]), torch.zeros_like(params[name])
        rates, decays = (torch.tensor(column, dtype=torch.float32) for column in zip(*pairs, strict=True))
        gradient = vmap(grad(loss), in_dims=(0, None, None))
        for step, rows in enumerate(batches, start=1):
            grads = gradient(params, x[rows], y[rows])
            for name, value in params.items():
                ones = (-1, *[1] * (value.ndim - 1))
                rate, decay = rates.reshape(ones), decays.reshape(ones)
                means[name].lerp_(grads[name], 0.1)
                squares[name].mul_(0.999).addcmul_(grads[name], grads[name], value=0.001)
                size = (squares[name] / (1 - 0.999**step)).sqrt_().add_(1e-8)
                value.mul_(1 - rate * decay).sub_(means[name] / size * (rate / (1 - 0.9**step)))
        return vmap(loss, in_dims=(0, None, None))(params, x_validation, y_validation).tolist()

    yield stacked


@contextmanager
def ray_tune(config, data, order):
    """Ray Tune with an actor on each core, which is reused for the next trial; a trial reports once."""
    import ray  # pyright: ignore[reportMissingImports]
    from ray import tune  # pyright: ignore[reportMissingImports]

    train = torch_training(config, data, order, threads=1)

    class Training(tune.Trainable):
        def setup(self, config):
            self.pair = config["pair"]

        def reset_config(self, new_config):
            self.pair = new_config["pair"]
            return True

        def step(self):
            return {"validation_loss": train(*self.pair), "done": True}

        def save_checkpoint(self, checkpoint_dir):
            del checkpoint_dir  # nothing to keep

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        ray.init(num_cpus=available_cores(), include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)

        def fit(pairs):
            tuner = tune.Tuner(
                tune.with_resources(Training, {"cpu": 1}),
                param_space={"pair": tune.grid_search([tuple(map(float, pair)) for pair in pairs])},
                tune_config=tune.TuneConfig(metric="validation_loss", mode="min", reuse_actors=True),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            )
            return [(result.metrics or {})["validation_loss"] for result in tuner.fit()]

        try:
            yield fit
        finally:
            ray.shutdown()


@contextmanager
def grid_search(config, data, order):
    """scikit-learn's ``MLPClassifier`` in ``GridSearchCV``, a process on each core; Adam with L2, as it has no decay.

    It searches the grid of the pairs' learning rates alone, so that there are as many fits as pairs.
    """
    from joblib import parallel_config
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.neural_network import MLPClassifier

    (x, y), (x_validation, y_validation) = data.train, data.validation
    epochs = order.size // len(x)
    network = MLPClassifier(
        (config.width,), batch_size=config.batch_size, max_iter=epochs, n_iter_no_change=epochs + 1, random_state=0
    )
    split = PredefinedSplit(np.repeat([-1, 0], [len(x), len(x_validation)]))

    def search(pairs):
        rates = [float(rate) for rate, _ in pairs]
        found = GridSearchCV(
            network,
            {"learning_rate_init": rates},
            scoring="neg_log_loss",
            cv=split,
            refit=False,
            n_jobs=available_cores(),
        ).fit(np.concatenate([x, x_validation]), np.concatenate([y, y_validation]))
        return -found.cv_results_["mean_test_score"]

    with parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield search
