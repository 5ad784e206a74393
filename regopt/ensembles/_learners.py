"""Learners to combine: ridge regression on a basis, nearest neighbours, and a small network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import check_number, check_whole, like
from regopt._core.types import Number
from regopt.ensembles._learner import Learner
from regopt.optimizers import adam


def ridge(strength: Number, *, basis: Callable[[jax.Array], jax.Array] = lambda x: x) -> Learner:
    """``argmin sum_i c_i (y_i - b - phi(x_i) w)**2 + strength |w|**2`` with weights c that sum to 1.

    Args:
        strength: > 0, in squared units of the basis; may be traced.
        basis: features ``[n, k]`` of inputs ``[n, d]``; static.

    Returns:
        A learner for regression.

    Raises:
        ValueError: a concrete strength lies outside (0, inf).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import ridge
        >>> learner = ridge(1e-6)
        >>> model = learner.fit(jax.random.key(0), jnp.array([[0.0], [1.0]]), jnp.array([1.0, 3.0]), jnp.ones(2))
        >>> learner.predict(model, jnp.array([[2.0]])).round(3)
        Array([5.], dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Equation (3.41).
    """
    check_number("strength", strength, "(0, inf)")

    def fit(key, x, y, weights):
        del key
        features = basis(x)
        shares = (weights / jnp.sum(weights)).astype(features.dtype)
        middle, mean = shares @ features, shares @ y
        centred = features - middle[None]
        gram = (centred * shares[:, None]).T @ centred
        system = gram + like(strength, gram) * jnp.eye(len(gram), dtype=gram.dtype)
        w = jnp.linalg.solve(system, centred.T @ (shares * (y - mean)))
        return {"coefficients": w, "intercept": mean - middle @ w}

    def predict(model, x):
        return basis(x) @ model["coefficients"] + model["intercept"]

    return Learner(fit, predict)


def nearest_neighbours(neighbours: int) -> Learner:
    """The weighted mean of the targets of the nearest examples; with one neighbour the training error is 0.

    Args:
        neighbours: number of examples, >= 1; static.

    Returns:
        A learner for regression. Its model is the training set.

    Raises:
        ValueError: ``neighbours`` is no whole number >= 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import nearest_neighbours
        >>> learner = nearest_neighbours(1)
        >>> x = jnp.array([[0.0], [1.0]])
        >>> learner.predict(learner.fit(jax.random.key(0), x, jnp.array([3.0, 4.0]), jnp.ones(2)), x + 0.1)
        Array([3., 4.], dtype=float32)

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Equation (2.8).
    """
    check_whole("neighbours", neighbours, "[1, inf)")

    def fit(key, x, y, weights):
        del key
        return {"x": x, "y": y, "weights": weights.astype(y.dtype)}

    def predict(model, x):
        squares = jnp.sum(jnp.square(x[:, None] - model["x"][None]), axis=2)
        far = jnp.where(model["weights"][None] > 0, squares, jnp.inf)
        nearest = jax.lax.top_k(-far, neighbours)[1]  # [n, neighbours]
        weights = model["weights"][nearest]
        return jnp.sum(weights * model["y"][nearest], axis=1) / jnp.sum(weights, axis=1)

    return Learner(fit, predict)


def network(
    classes: int = 2, *, width: int = 8, steps: int = 200, learning_rate: Number = 0.03, strength: Number = 0.0
) -> Learner:
    """A network with one hidden layer of ReLUs, trained by Adam on all examples with the weighted cross-entropy.

    Args:
        classes: number of classes, >= 2; static.
        width: number of hidden units, >= 1; static.
        steps: number of steps, >= 0; static.
        learning_rate: of Adam, > 0, in parameter units; may be traced.
        strength: of the penalty ``strength / 2 |W|**2`` on the kernels, >= 0; may be traced.

    Returns:
        A learner for classification. The initial weights depend on the key.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import network
        >>> learner, x = network(steps=300), jnp.array([[0.0], [1.0], [2.0]])  # no stump can tell these
        >>> model = learner.fit(jax.random.key(0), x, jnp.array([0, 1, 0]), jnp.ones(3))
        >>> learner.predict(model, x).argmax(axis=1)
        Array([0, 1, 0], dtype=int32)

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Algorithm 1.
    """
    check_whole("classes", classes, "[2, inf)")
    check_whole("width", width, "[1, inf)")
    check_whole("steps", steps, "[0, inf)")
    check_number("learning_rate", learning_rate, "(0, inf)")
    check_number("strength", strength, "[0, inf)")
    optimizer = adam(learning_rate)

    def start(key, x):
        keys = jax.random.split(key)
        draw, features = jax.nn.initializers.he_normal(), x.shape[1]
        return {
            "hidden": draw(keys[0], (features, width), x.dtype),
            "hidden_bias": jnp.zeros(width, x.dtype),
            "output": draw(keys[1], (width, classes), x.dtype),
            "output_bias": jnp.zeros(classes, x.dtype),
        }

    def logits(model, x):
        hidden = jax.nn.relu(x @ model["hidden"] + model["hidden_bias"][None])
        return hidden @ model["output"] + model["output_bias"][None]

    def fit(key, x, y, weights):
        shares = (weights / jnp.sum(weights)).astype(x.dtype)

        def loss(model):
            losses = optax.softmax_cross_entropy_with_integer_labels(logits(model, x), y)
            squares = jnp.sum(jnp.square(model["hidden"])) + jnp.sum(jnp.square(model["output"]))
            return jnp.sum(shares * losses) + like(strength, squares) / 2 * squares

        def step(carry, _):
            model, state = carry
            updates, state = optimizer.update(jax.grad(loss)(model), state, model)
            return (optax.apply_updates(model, updates), state), None

        model = start(key, x)
        return jax.lax.scan(step, (model, optimizer.init(model)), length=steps)[0][0]

    def predict(model, x):
        return jax.nn.softmax(logits(model, x))

    return Learner(fit, predict)
