"""The training loop of a run: one for all objectives, all modalities, one process or many.

It feeds the engine (steps/engine.py), watches it and keeps what it has reached.

A run is a function of its plan, its data and the code, and of nothing else:
- which items step t sees follows from (seed, epoch), see `training.batches.Order`;
- what happens to them (the views) follows from (seed, t), see `Loop.forward`;
- dropout and its like follow from (seed, t) too: torch's generator is set anew at every step.
So a run that was killed at any moment goes on from its last checkpoint as if nothing had happened,
to the last bit, and the number of loading workers changes nothing. R processes with B/R items each
do what one with B does, but for the order in which floats are added.

Shapes: N items, B items of the global batch, R processes, n = B / R.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

from modalities.base import Batch, Items, Objective, Randomness, Step, Tell, UserError
from modalities.common.steps import memory
from modalities.common.steps.engine import Engine
from modalities.common.steps.optim import optimizer, rate
from modalities.common.steps.precompute import precomputed
from modalities.common.training import norm
from modalities.common.training.batches import Order, ahead, loader, mixed, seed_torch
from modalities.common.training.checkpoints import Checkpoints
from modalities.common.training.monitor import Clock, Silence, diagnose, health, spacing

Row = dict[str, float]  # one point of every curve

LOOK = 10  # steps between two looks at the losses, each of which makes a GPU wait
SECONDS = 10.0  # between two checkpoints, or 50 times what one takes if that is more


@dataclass(frozen=True)
class Plan:
    """What decides the result, besides data and code. The names are those of params.yaml."""

    epochs: int
    batch_size: int  # B
    seed: int = 0
    precision: str = "bf16"
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip: float = 1.0

    def steps(self, items: int) -> int:
        """Optimiser steps in all; the last, incomplete batch of an epoch is left out."""
        return self.epochs * (items // self.batch_size)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step."""
        return self.learning_rate * rate(step, steps, self.warmup)


def train(  # noqa: PLR0913
    objective: Objective,
    items: Items,
    plan: Plan,
    tell: Tell,
    *,
    probe: Tensor,
    checkpoints: Checkpoints,
    workers: int = 0,
    every: int | None = None,
    free: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Train `objective` in place on N items; the curves' points.

    `probe` (B', ...) is the batch, ready for the encoder, on which its health is watched.
    Goes on from the newest checkpoint. `every`: steps between two, in place of a time. `free`:
    columns of N rows that batches have beside `items`, the free labels.
    """
    loop = Loop(objective, items, plan, tell, probe)
    loop.free = free or {}
    loop.resume(checkpoints)
    for batch in loop.batches(workers):
        loop.forward(batch)
        if loop.settled():
            loop.checkpoint(checkpoints, every)
    return loop.history


class Loop(Engine):
    """A run and where it stands: `step` of `steps` are done."""

    def __init__(
        self, objective: Objective, items: Items, plan: Plan, tell: Tell, probe: Tensor
    ) -> None:
        memory.keep()
        # Without gradient buffers of its own DDP leaves ours alone, such as a queue of keys.
        ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
        self.accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[ddp])
        self.plan = plan
        self.free: Mapping[str, Any] = {}
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.tell = tell if self.accelerator.is_main_process else Silence()
        self._check(len(items))
        objective.begin(len(items))
        device = self.accelerator.device
        self.items = precomputed(items, objective.precompute, device)
        objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.world > 1:
            norm.share(objective)
        moved = optimizer(
            plan.optimizer, objective.parameters(), plan.learning_rate, plan.weight_decay
        )
        super().__init__(
            objective, moved, plan.steps(len(items)), plan.rate, device=device,
            precision=plan.precision, clip=plan.clip, model=self.accelerator.prepare(objective),
        )  # fmt: skip
        self.probe = probe.to(self.device)
        self.pending: list[tuple[int, Step]] = []  # not looked at yet
        self.window: list[Row] = []  # looked at, not in a row of the history yet
        self.history: list[Row] = []
        self.health: dict[str, float] = {}
        self.clock, self.saved, self.cost = Clock(self.tell), time.monotonic(), 0.0
        # A hundred points a curve, at steps at which the losses are looked at anyway.
        points = max(1, self.steps // 100)
        self.look = min(LOOK, points)
        self.point = points - points % self.look
        self.probed = spacing(self.steps * plan.batch_size, len(probe), self.steps, self.point)

    def _check(self, found: int) -> None:
        size = self.plan.batch_size
        if size > found:
            raise UserError(f"batch_size {size} is above the number of items, {found}")
        if size % self.world:
            raise UserError(f"batch_size {size} cannot be divided among {self.world} processes")

    def batches(self, workers: int) -> Iterator[Batch]:
        """The batches that are left, on the device; the time that they let us wait is counted."""
        left, share = range(self.step, self.steps), (self.rank, self.world)
        count, near = len(self.items), self.items.near
        order = Order(count, self.plan.batch_size, self.plan.seed, left, share, near)
        self.clock.reset()
        batches: Iterator[Batch] = iter(loader(self.items, order, workers=workers, free=self.free))
        if self.device.type == "cuda" and not workers:
            batches = ahead(batches)
        while True:
            started = time.monotonic()
            batch = next(batches, None)
            self.clock.waited += time.monotonic() - started
            if batch is None:
                return
            yield {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}

    def forward(self, batch: Batch) -> None:
        """One step: views, loss, gradient, update, and what moves without a gradient."""
        plan, share = self.plan, self.plan.batch_size // self.world
        seed_torch(mixed(plan.seed, self.step, 1 + self.rank))
        generator = torch.Generator().manual_seed(mixed(plan.seed, self.step, 0))
        rng = Randomness(
            generator, total=plan.batch_size, device=self.device,
            positions=range(self.rank * share, (self.rank + 1) * share),
        )  # fmt: skip
        if not self.model.training:
            self.model.train()
        with torch.no_grad():
            views = self.objective.views(batch, rng)
        step = self.learn(views)
        self.update()
        self.pending.append((self.step, step))
        self.clock.items += plan.batch_size

    def settled(self) -> bool:
        """Every few steps: look at the losses, stop if one is not finite, tell how it goes."""
        last = self.step == self.steps
        if self.step % self.look and not last:
            return False
        self.window += self._losses()
        speed = self.clock.text()  # a row may start the clock anew
        if self.step % self.point == 0 or last:
            self._add_row(healthy=self.step % self.probed == 0 or last)
        text = "".join(f"  {name} {value:.2f}" for name, value in self.health.items())
        loss = self.window[-1]["loss"] if self.window else self.history[-1]["loss"]
        self.tell.progress(
            self.step / self.steps, f"loss {loss:.3f}  {speed}{text.replace('_', ' ')}"
        )
        return True

    def _losses(self) -> list[Row]:
        """The pending steps' loss and metrics, over all processes."""
        names = ["loss", *self.pending[0][1].metrics]
        values = torch.stack(
            [
                torch.stack([torch.as_tensor(v).to(self.device).detach().float() for v in found])
                for _, step in self.pending
                for found in [[step.loss, *step.metrics.values()]]
            ]
        )  # (steps, names)
        found = self.accelerator.reduce(values, "mean").tolist()
        for (step, _), row in zip(self.pending, found, strict=True):
            if not math.isfinite(row[0]):
                raise UserError(
                    f"the loss became {row[0]} at step {step} of {self.steps}; the last good "
                    "checkpoint is kept; try a smaller learning_rate, a longer warmup, or fp32"
                )
        self.pending.clear()
        return [dict(zip(names, row, strict=True)) for row in found]

    def _add_row(self, *, healthy: bool) -> None:
        """One more point for every curve: the mean since the last one."""
        row: Row = {"step": self.step}
        for name in self.window[0]:
            row[name] = sum(r[name] for r in self.window) / len(self.window)
        row["learning_rate"] = self.optimizer.lr
        if healthy:
            with self.autocast():
                self.health = health(self.objective.encoder, self.probe)
            row |= self.health
            if wrong := diagnose(self.health, self.step / self.steps):
                self.tell.warn(f"step {self.step}: {wrong}")
            self.clock.check()
            self.clock.reset()
        self.history.append(row)
        self.window = []
        self.tell.metrics(row)

    def checkpoint(self, checkpoints: Checkpoints, every: int | None) -> None:
        """Save everything that the rest of the run depends on, if it is time to."""
        waited = time.monotonic() - self.saved
        due = waited > max(SECONDS, 50 * self.cost) if every is None else self.step % every == 0
        if not due or not self.accelerator.is_main_process:
            return
        started = time.monotonic()
        state = {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "window": self.window,
            "history": self.history,
        }
        checkpoints.save(self.step, state)
        self.saved = time.monotonic()
        self.cost = self.saved - started

    def resume(self, checkpoints: Checkpoints) -> None:
        """Go on from the newest checkpoint, if there is one."""
        found = checkpoints.load()
        if found is None:
            return
        self.step, state = found
        self.window, self.history = state["window"], state["history"]
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.tell.log(f"going on from step {self.step} of {self.steps}")
