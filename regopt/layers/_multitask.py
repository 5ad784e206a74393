"""Several tasks on one trunk: what one task learns about the inputs serves the others."""

from collections.abc import Callable, Mapping

import jax
from flax import nnx


class MultiTask(nnx.Module):
    """``{name: head(activation(trunk(x)))}``: parameters shared by all tasks, and some for each.

    Under a weighted sum of the tasks' losses (``losses.multi_task``) the trunk gets the weighted sum of their gradients
    and each head that of its own task alone.

    Args:
        trunk: from the inputs to the shared features; an ``MLP``, say, whose last layer is linear.
        heads: a module from the shared features to the outputs of each task, by name.
        activation: elementwise function between the trunk and the heads.

    Raises:
        ValueError: there are no heads.

    References: Caruana (1997); Goodfellow et al. (2016), section 7.7.
    """

    def __init__(
        self,
        trunk: nnx.Module,
        heads: Mapping[str, nnx.Module],
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    ):
        if not heads:
            raise ValueError("heads must name at least one task, got none")
        self.trunk = trunk
        self.heads = nnx.Dict(heads)
        self.activation = activation

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Inputs of the trunk to the outputs of every task, by name."""
        shared = self.activation(self.trunk(x))
        return {name: head(shared) for name, head in self.heads.items()}
