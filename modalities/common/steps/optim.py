"""Optimisers and the learning rate over a run.

The updates are torch's own functions; its classes around them import the compiler (torch._dynamo),
which would double the time that a stage needs to start.

Shapes: a parameter of any shape; "thin" parameters have at most one dimension (biases, norms).
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd


class Optimizer:
    """Parameters with state. Thin ones are not decayed."""

    names: tuple[str, ...]  # of the state that is kept for each parameter, shaped like it

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        self.params = [p for p in params if p.requires_grad]
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.state = {name: [torch.zeros_like(p) for p in self.params] for name in self.names}

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update of all parameters that have a gradient."""
        for thin in (False, True):
            where = [
                i
                for i, p in enumerate(self.params)
                if p.grad is not None and (p.dim() <= 1) == thin
            ]
            if where:
                grads = [p.grad for i in where if (p := self.params[i]).grad is not None]
                state = {name: [kept[i] for i in where] for name, kept in self.state.items()}
                params: list[Tensor] = [self.params[i] for i in where]
                self.update(params, grads, state, thin=thin)
        self.steps += 1

    @abstractmethod
    def update(
        self, params: list[Tensor], grads: list[Tensor], state: dict[str, list[Tensor]], *,
        thin: bool,
    ) -> None: ...  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "state": self.state}

    @torch.no_grad()
    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Copy a state in; how it lies in memory stays, and with it how sums are rounded."""
        self.steps = kept["steps"]
        for name, tensors in self.state.items():
            for mine, its in zip(tensors, kept["state"][name], strict=True):
                mine.copy_(its)


class AdamW(Optimizer):
    """Loshchilov and Hutter 2017, arXiv:1711.05101."""

    names = ("mean", "square")

    def update(
        self, params: list[Tensor], grads: list[Tensor], state: dict[str, list[Tensor]], *,
        thin: bool,
    ) -> None:  # fmt: skip
        done = list(torch.full((len(params),), float(self.steps), device=params[0].device).unbind())
        adamw(
            params, grads, state["mean"], state["square"], [], done, fused=True, amsgrad=False,
            beta1=0.9, beta2=0.999, lr=self.lr, eps=1e-8, maximize=False,
            weight_decay=0.0 if thin else self.weight_decay,
        )  # fmt: skip


class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    names = ("momentum",)

    def update(
        self, params: list[Tensor], grads: list[Tensor], state: dict[str, list[Tensor]], *,
        thin: bool,
    ) -> None:  # fmt: skip
        buffers: list[Tensor | None] = list(state["momentum"])
        sgd(
            params, grads, buffers, weight_decay=0.0 if thin else self.weight_decay, momentum=0.9,
            lr=self.lr, dampening=0.0, nesterov=False, maximize=False, foreach=True,
        )  # fmt: skip


class Lars(SGD):
    """SGD with momentum whose step per layer is in proportion to the layer's weights.

    You, Gitman, Ginsburg 2017, arXiv:1708.03888, for batches of thousands. Thin parameters move
    as with plain SGD, as in SimCLR and BYOL.
    """

    trust = 1e-3

    def update(
        self, params: list[Tensor], grads: list[Tensor], state: dict[str, list[Tensor]], *,
        thin: bool,
    ) -> None:  # fmt: skip
        if not thin:
            steps = [g.add(p, alpha=self.weight_decay) for p, g in zip(params, grads, strict=True)]
            grads = [s * self._trust(p, s) for p, s in zip(params, steps, strict=True)]
        super().update(params, grads, state, thin=True)  # the decay is in the step already

    def _trust(self, weight: Tensor, step: Tensor) -> Tensor:
        """trust |w| / |step|, or 1 where either is nothing."""
        ratio = self.trust * weight.norm() / step.norm()
        return torch.where(torch.isfinite(ratio) & (ratio > 0), ratio, torch.ones_like(ratio))


def optimizer(
    name: str, params: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> Optimizer:
    """By its name in params.yaml."""
    kinds: dict[str, Callable[..., Optimizer]] = {"adamw": AdamW, "sgd": SGD, "lars": Lars}
    return kinds[name](params, learning_rate, weight_decay)


def rate(step: int, steps: int, warmup: float) -> float:
    """The share of the learning rate at `step`: a line up to 1, then half a cosine down to 0."""
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
