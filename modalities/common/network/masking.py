"""Hiding a share of the tokens of each item.

Shapes: B items, N tokens, K visible, M = N - K masked, ... whatever a token is.
"""

from torch import Tensor


def divide(noise: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """(B, N) uniform noise -> which tokens are visible (B, K) and which masked (B, M), int64.

    `share` of the tokens of every item are masked, rounded up, but never all and never none.
    """
    count = noise.shape[1]
    visible = min(max(int(count * (1 - share)), 1), count - 1)
    order = noise.argsort(dim=1, stable=True)
    return order[:, :visible], order[:, visible:]


def take_tokens(x: Tensor, which: Tensor) -> Tensor:
    """(B, N, D), (B, K) -> (B, K, D)."""
    return x.gather(1, which[:, :, None].expand(-1, -1, x.shape[2]))
