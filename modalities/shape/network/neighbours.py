"""Which points of a cloud are near which: sampling, search, grouping, interpolation.

No compiled extension: all of it is a few large operations on whole batches, on any device.

Shapes: B clouds, P points, S centres, K neighbours, C width.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

SPAN = 256  # numbers: of longer rows NumPy selects several times as slowly


@torch.no_grad()
def farthest(place: Tensor, count: int) -> Tensor:
    """(B, P, 3) -> (B, S) int64: each point the farthest from those before it.

    The first is the one farthest from the middle, so that the order of the points plays no part
    but where two are equally far. Beyond P points the order begins anew.
    """
    batch, points, _ = place.shape
    if place.is_cuda:
        graph, given, found = _recorded(batch, points, min(count, points), place.device)
        given.copy_(place)
        graph.replay()
        taken = found.clone()
    else:
        taken = _farthest(place.float(), min(count, points))
    if count > points:
        taken = taken.repeat(1, -(-count // points))[:, :count]
    return taken


def _farthest(place: Tensor, count: int) -> Tensor:
    batch, points, _ = place.shape
    row = torch.arange(batch, device=place.device)
    at = (place - place.mean(1, keepdim=True)).square().sum(-1).argmax(1)
    axes = place.permute(2, 0, 1).contiguous()
    distance = torch.full((batch, points), torch.inf, device=place.device)
    taken = []
    for _ in range(count):
        taken.append(at)
        distance = torch.minimum(distance, (axes - axes[:, row, at, None]).square_().sum(0))
        at = distance.argmax(1)
    return torch.stack(taken, 1)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # else what a measurement records could not be used in training
@torch.no_grad()
def _recorded(
    batch: int, points: int, count: int, device: torch.device
) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
    """The search as a CUDA graph, with its input and its output: its thousand tiny kernels take
    far longer to launch one by one than to run."""
    given = torch.zeros(batch, points, 3, device=device)
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        _farthest(given, min(count, 2))  # what is set up once must not be recorded
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = _farthest(given, count)
    return graph, given, found


def distances(one: Tensor, two: Tensor) -> Tensor:
    """(B, S, 3), (B, P, 3) -> squared distances (B, S, P), in float32."""
    one, two = one.float(), two.float()
    with torch.autocast(one.device.type, enabled=False):
        cross = torch.baddbmm(
            two.square().sum(-1)[:, None], one, two.transpose(1, 2), alpha=-2
        )  # what is the same for a centre's points is added after
        return (cross + one.square().sum(-1, keepdim=True)).clamp_(min=0)


@torch.no_grad()
def lowest(square: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """What `topk(count, largest=False)` finds along the last axis of (B, S, P): values, and places.

    Numbers that are not negative, float32. On a CPU it is several times as fast: NumPy selects with
    vector instructions, from short rows of whole numbers. So a number's bits, which have its order,
    are put before those of its place, and of each SPAN numbers the lowest go on.
    """
    if square.device.type != "cpu":
        values, which = square.topk(count, dim=-1, largest=False)
        return values, which
    bits = square.view(torch.int32).long().bitwise_left_shift_(32)
    key = bits.bitwise_or_(torch.arange(square.shape[-1])).numpy()
    while 2 * count <= SPAN < key.shape[-1]:
        spare = -key.shape[-1] % SPAN
        key = np.pad(key, [(0, 0), (0, 0), (0, spare)], constant_values=np.iinfo(np.int64).max)
        key = key.reshape(*key.shape[:2], -1, SPAN)
        key.partition(count - 1, axis=-1)
        key = key[..., :count].reshape(*key.shape[:2], -1)
    key.partition(count - 1, axis=-1)
    which = torch.from_numpy(np.sort(key[..., :count], axis=-1)).bitwise_and_(0xFFFFFFFF)
    return square.gather(-1, which), which


@torch.no_grad()
def nearest(place: Tensor, centres: Tensor, count: int, radius: float | None = None) -> Tensor:
    """The K points nearest to each centre, (B, S, K) int64; those beyond `radius` are replaced by
    the nearest one. Where there are fewer than K points, they are repeated."""
    square = distances(centres, place)
    found, which = lowest(square, min(count, place.shape[1]))
    if radius is not None:
        which = torch.where(found <= radius * radius, which, which[..., :1])
    if which.shape[-1] < count:
        which = which.repeat(1, 1, -(-count // which.shape[-1]))[..., :count]
    return which


def grouped(feature: Tensor, which: Tensor) -> Tensor:
    """(B, P, C), (B, S, K) -> (B, S, K, C)."""
    batch, points, _ = feature.shape
    start = torch.arange(batch, device=which.device)[:, None, None] * points
    found = feature.flatten(0, 1).index_select(0, (which + start).flatten())
    return found.view(*which.shape, -1)


def interpolate(place: Tensor, centres: Tensor, feature: Tensor) -> Tensor:
    """Features (B, S, C) of centres -> of points (B, P, C): the three nearest centres', weighted by
    one over the squared distance."""
    with torch.no_grad():
        square, which = lowest(distances(place, centres), min(3, centres.shape[1]))
        weight = 1 / (square + 1e-6)
        weight = (weight / weight.sum(-1, keepdim=True)).to(feature.dtype)  # (B, P, 3)
    return (grouped(feature, which) * weight[..., None]).sum(2)


class Greatest(torch.autograd.Function):
    """(B, S, K, C) -> (B, S, C), `amax(2)`: places that are equally great share the gradient.

    Here the mask is of numbers: of bools, as `amax` has it, the backward pass on a CPU is slow.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        found = x.amax(2)
        ctx.save_for_backward(x, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, found = ctx.saved_tensors
        mask = torch.eq(x, found[:, :, None], out=torch.empty_like(x))
        return mask.mul_((grad / mask.sum(2))[:, :, None])


def greatest(x: Tensor) -> Tensor:
    """(B, S, K, C) -> (B, S, C): over neighbours."""
    found: Tensor = Greatest.apply(x)  # type: ignore[no-untyped-call]
    return found
