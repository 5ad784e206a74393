"""Several tasks on one trunk: the tasks share what each learns about the inputs."""

from collections.abc import Callable, Mapping

import jax
from flax import nnx

from regopt._core.checks import check_function
from regopt._core.messages import brief


class MultiTask(nnx.Module):
    """``{name: head(activation(trunk(x)))}``: a trunk that all tasks share, and a head for each task.

    Under a weighted sum of the tasks' losses (``losses.multi_task``) the trunk receives the weighted sum of their
    gradients and each head only the gradient of its own task.

    Args:
        trunk: a module from the inputs to the shared features, such as an ``MLP``, whose last layer is linear.
        heads: a module from the shared features to the outputs of each task, by name.
        activation: elementwise function between the trunk and the heads; static.

    Raises:
        ValueError: ``heads`` is empty or no mapping to modules, or the trunk or the activation is no function.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> rngs = nnx.Rngs(0)
        >>> heads = {"age": layers.Dense(8, 1, rngs=rngs), "species": layers.Dense(8, 3, rngs=rngs)}
        >>> model = layers.MultiTask(layers.MLP((4, 8), rngs=rngs), heads)
        >>> {name: outputs.shape for name, outputs in model(jnp.ones((5, 4))).items()}
        {'age': (5, 1), 'species': (5, 3)}

    References:
        Caruana, R. (1997). Multitask learning. Machine Learning, 28, 41-75.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.7.
    """

    def __init__(
        self,
        trunk: nnx.Module,
        heads: Mapping[str, nnx.Module],
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    ):
        check_function("trunk", trunk)
        check_function("activation", activation)
        if not isinstance(heads, Mapping) or not all(map(callable, heads.values())):
            raise ValueError(f"heads must be a mapping from names of tasks to modules, got {brief(heads)}")
        if not heads:
            raise ValueError("heads must name at least one task, got none")
        self.trunk = trunk
        self.heads = nnx.Dict(heads)
        self.activation = activation

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """The outputs of every task for the inputs ``x`` of the trunk, by name."""
        shared = self.activation(self.trunk(x))
        return {name: head(shared) for name, head in self.heads.items()}
