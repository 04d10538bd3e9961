"""Every contract between the engine, the modalities and the methods, in one place.

Shapes: B batch, N tokens, D feature width, K visible tokens. A raw batch holds what ingest wrote
(for images: uint8, (B, H, W, 3)); views turn it into what an encoder takes (float, (B, 3, H, W)).
Beside `items` and `index` a run with free labels has `free_label` and `free_confidence`, and a
modality whose items differ in length has `lengths`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from modalities.items import Item as Item
from modalities.items import Items as Items
from modalities.items import Labelled as Labelled
from modalities.items import Tell as Tell
from modalities.items import UserError as UserError

Batch: TypeAlias = dict[str, Tensor]


def sent(x: Tensor, device: torch.device | str) -> Tensor:
    """`x` of the CPU on the device, without waiting for what the device has still to do."""
    if torch.device(device).type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


class Randomness:
    """Random numbers that are the same however many processes share a batch.

    Every draw is made for the whole global batch of `total` items and cut to this process's items,
    at `positions` in it (any, in any order; None: all), so that 2 processes x B/2 see exactly what
    1 process x B sees, however the items of one or more streams are shared out. Draws are made on
    the CPU, so that a GPU sees the same views too; `device` is where they are put.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        total: int,
        positions: range | Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.generator, self.total = generator, total
        self.positions = range(total) if positions is None else positions
        self.device = torch.device(device)

    def on(self, device: torch.device | str) -> "Randomness":
        """The same source of draws, put elsewhere."""
        return Randomness(self.generator, total=self.total, positions=self.positions, device=device)

    def _cut(self, drawn: Tensor) -> Tensor:
        at = self.positions
        # A stretch is a view of what was drawn; other positions are copied out.
        part = drawn[at.start : at.stop : at.step] if isinstance(at, range) else drawn[at]
        return sent(part, self.device)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) floats in [low, high)."""
        drawn = self._cut(torch.rand(self.total, *shape, generator=self.generator))
        return drawn * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal floats."""
        return self._cut(torch.randn(self.total, *shape, generator=self.generator))

    def integers(self, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64 in [0, high)."""
        return self._cut(torch.randint(high, (self.total, *shape), generator=self.generator))

    def bernoulli(self, p: float, *shape: int) -> Tensor:
        """(B, *shape) booleans, true with probability p."""
        return self._cut(torch.rand(self.total, *shape, generator=self.generator) < p)


@dataclass(frozen=True)
class Step:
    """What one batch gave: the loss (a finite scalar with a gradient) and numbers worth a curve."""

    loss: Tensor
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where training stands, after `step` of `steps` optimiser steps."""

    step: int
    steps: int

    @property
    def fraction(self) -> float:
        return self.step / max(1, self.steps)


class Encoder(nn.Module):
    """What pretraining keeps. Subclasses set `dim` (D)."""

    dim: int
    fits: ClassVar[tuple[str, ...]] = ()  # options that may differ where its weights come from

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, ...) -> (B, N, D). With `visible` (B, K) int64: only these, -> (B, K, D)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, D)."""
        return self.tokens(x).mean(1)

    def fitted(self, name: str, found: Tensor, shape: torch.Size) -> Tensor:  # noqa: ARG002
        """`found`, of an encoder of this kind, in the shape of the own tensor `name`.

        As it is where it has that shape or where it cannot be fitted.
        """
        return found

    def adopt(self, tensors: Mapping[str, Tensor], skip: Iterable[str] = ()) -> list[str]:
        """Take an encoder's weights, positions and patches fitted to this one's size.

        `skip`: tensors or modules, by name, that stay as they are. UserError names what does not
        fit, and then nothing has changed. What was fitted is said in words.
        """
        apart, words = tuple(skip), []
        taken = {k: v for k, v in self.state_dict().items() if not _within(k, apart)}
        found: dict[str, Tensor] = {}
        for name, own in taken.items():
            if name not in tensors:
                raise UserError(f"expected a tensor for {name}, found none of its name")
            found[name] = self.fitted(name, tensors[name], own.shape)
            change = f"{name} of shape {tuple(own.shape)}, found {tuple(tensors[name].shape)}"
            if found[name].shape != own.shape:
                raise UserError(f"expected {change}")
            if tensors[name].shape != own.shape:
                words.append(change)
        for name in tensors:
            if name not in taken and not _within(name, apart):
                raise UserError(f"found a tensor {name}, which the encoder does not have")
        self.load_state_dict(found, strict=False)
        return words


def _within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a tensor is one of these, or lies in one of them."""
    return any(name == each or name.startswith(f"{each}.") for each in modules)


class Objective(nn.Module):
    """A pretext task: views + head + loss, together in one file of 20 to 80 lines.

    The subclass's keyword-only arguments with defaults (all of them written in its own `__init__`)
    are the schema of `options:` in params.yaml. `encoder` is trained; `make_encoder` is not needed:
    a teacher is `copy.deepcopy(encoder)`. The module's docstring or the class's cites the paper.
    """

    encoder: Encoder
    needs: tuple[str, ...] = ()  # ("free_label",): it learns from the free labels of its batch
    # What `views` begins with and what draws nothing, such as a spectrogram. Where all results fit
    # into memory it is done once per item: `views` takes them for the items, too.
    precompute: Callable[[Tensor], Tensor] | None = None

    def begin(self, items: int) -> None:
        """Called once, before training or loading a state: that many items will be seen.

        `batch["index"]` is below it. What needs a place per item makes it here.
        """

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        """Raw batch -> batch for `forward`, the free label included. Vectorised, on the device."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Step:
        raise NotImplementedError

    def after_step(self, progress: Progress) -> None:
        """What moves without a gradient: EMA, queue, bank. Called after each optimiser step."""

    def kept(self) -> dict[str, nn.Module]:
        """What the run leaves behind, by the name of its file; `encoder` is what others open."""
        return {"encoder": self.encoder}

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        """Draw what the task is and how well it is done, for people: *.png, *.html in `folder`.

        Called once after training, in one process, in evaluation mode, without gradients, with a
        raw batch of training items, in less than three seconds; the same files for the same run.
        A PNG may carry its caption in the field `Description`. By default nothing is drawn.
        """


class Reading(Protocol):
    """What `modalities/NAME/reading/` offers, as functions. It imports no torch."""

    def find(self, source: Path, labels: Path | None) -> list[Item]:
        """All items of a source folder in any layout that is understood. UserError if none."""
        ...

    def read(self, path: Path, **options: Any) -> Any:
        """Decode one file to the array that ingest keeps. ValueError(reason) -> quarantined."""
        ...

    def thumbnails(self, items: Any) -> Any:
        """(N, ...) raw -> (N, h, w, 3) uint8 pictures for reports."""
        ...

    # Optional: `annotate(source, [(row, file, extra), ...], folder, *, jobs, warn, **options)`
    # writes what richer tasks need (boxes, masks) beside items.npy; see modalities/image.


class Network(Protocol):
    """What `modalities/NAME/network/` offers, as functions."""

    def build_encoder(self, name: str, **options: Any) -> Encoder:
        """A new encoder with random weights (torch's global generator decides which)."""
        ...

    def prepare(self, items: Tensor) -> Tensor:
        """Raw batch -> encoder input, with no randomness."""
        ...

    def augment(self, items: Tensor, rng: Randomness) -> Tensor:
        """Raw batch -> encoder input, with mild changes that keep the label (for fine-tuning)."""
        ...
