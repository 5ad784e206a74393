"""The models of the device benchmark in PyTorch, trained as stacks by ``torch.func.vmap`` and one after the other.

A stack holds the parameters of many settings and takes one step of AdamW for all of them; ``torch.compile`` compiles
that step. The loop trains one setting after the other with a compiled model and the fused AdamW. Neither evaluates.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from lane_tasks import CHANNELS, VOCABULARY, WINDOW

DECAY = 1e-4  # the default of regopt.adamw
WIDTH, HEADS = 64, 4


def check_torch(names: tuple[str, ...]) -> None:
    """Refuse, in one line, to train these models if PyTorch is not installed, or has no such model here.

    Raises:
        ValueError: for either reason.
    """
    if find_spec("torch") is None:
        raise ValueError("torch = true needs PyTorch: pip install torch, or set torch = false")
    unknown = [name for name in names if name not in models()]
    if unknown:
        raise ValueError(f"PyTorch has no model {unknown[0]!r} here, only {', '.join(models())}: set torch = false")


def models() -> dict[str, Callable[[], Any]]:
    """The modules by the names of their jobs."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.register_buffer("later", torch.triu(torch.full((WINDOW, WINDOW), -1e9), 1))

        def forward(self, x):
            parts = self.mix(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
            queries, keys, values = parts[0], parts[1], parts[2]
            scores = queries @ keys.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + self.later
            return self.out((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.norms = Attention(), nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2)])
            self.dense = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU("tanh"), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x):
            x = x + self.attention(self.norms[0](x))
            return x + self.dense(self.norms[1](x))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.characters, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(WINDOW, WIDTH)
            self.blocks, self.last = nn.Sequential(Block(), Block()), nn.Linear(WIDTH, VOCABULARY)

        def forward(self, x):
            return self.last(self.blocks(self.characters(x) + self.places.weight)).flatten(0, 1)

    def convolutions():
        first = nn.Conv2d(1, CHANNELS[0], 3, padding=1)
        second = nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, stride=2, padding=1)
        last = nn.Linear(16 * CHANNELS[1], 10)
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last)

    def perceptron():
        return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    return {"MLP": perceptron, "CNN": convolutions, "transformer": Transformer}


def batches_of(train: tuple[np.ndarray, np.ndarray], order: np.ndarray) -> list[tuple[Any, Any]]:
    """The batches of all steps, on the GPU where there is one."""
    import torch  # pyright: ignore[reportMissingImports]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = (torch.from_numpy(np.array(part)).to(device) for part in train)
    rows = torch.from_numpy(np.array(order)).long().to(device)
    return [(x[some] if x.is_floating_point() else x[some].long(), y[some].long().flatten()) for some in rows]


def stacked(name: str, batches: list[tuple[Any, Any]], seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """``learning rates -> the losses of the last step``, all settings in one stack."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.func import functional_call, grad_and_value, vmap  # pyright: ignore[reportMissingImports]

    model, device = _on_device(name, batches, seed), batches[0][0].device
    first = {name: value.detach() for name, value in model.named_parameters()}

    def loss(params, x, y):
        return torch.nn.functional.cross_entropy(functional_call(model, params, (x,)), y)

    gradient = vmap(grad_and_value(loss), in_dims=(0, None, None))

    @torch.compile
    def step(params, means, squares, rates, corrections, x, y):
        grads, losses = gradient(params, x, y)
        for name, value in params.items():
            rate = rates.reshape(-1, *[1] * (value.ndim - 1))
            means[name].lerp_(grads[name], 0.1)
            squares[name].mul_(0.999).addcmul_(grads[name], grads[name], value=0.001)
            size = (squares[name] * corrections[1]).sqrt_().add_(1e-8)
            value.mul_(1 - rate * DECAY).sub_(rate * corrections[0] * means[name] / size)
        return losses

    def train(rates):
        own = torch.tensor(np.asarray(rates), dtype=torch.float32, device=device)
        params = {name: value.expand(len(own), *value.shape).clone() for name, value in first.items()}
        means, squares = ({name: torch.zeros_like(value) for name, value in params.items()} for _ in range(2))
        powers, losses = torch.tensor([0.9, 0.999], device=device), own
        for count, (x, y) in enumerate(batches, start=1):
            losses = step(params, means, squares, own, 1 / (1 - powers**count), x, y)
        return losses.cpu().numpy()

    return train


def looped(name: str, batches: list[tuple[Any, Any]], seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """``learning rates -> the losses of the last step``, one setting after the other."""
    import torch  # pyright: ignore[reportMissingImports]

    model = _on_device(name, batches, seed)
    start, forward = {name: value.clone() for name, value in model.state_dict().items()}, torch.compile(model)

    def trained(rate):
        model.load_state_dict(start)
        optimizer = torch.optim.AdamW(model.parameters(), float(rate), weight_decay=DECAY, fused=True)
        loss: Any = None
        for x, y in batches:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
        return loss.detach()

    return lambda rates: torch.stack([trained(rate) for rate in rates]).cpu().numpy()


def _on_device(name: str, batches: list[tuple[Any, Any]], seed: int) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_float32_matmul_precision("high")  # TF32 on tensor cores, as JAX's default
    torch.manual_seed(seed)
    return models()[name]().to(batches[0][0].device)
