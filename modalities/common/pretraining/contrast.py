"""InfoNCE (van den Oord et al., arXiv:1807.03748) and its batch-wise form NT-Xent (SimCLR).

Shapes: n items of this process, B of all processes, D width, K negatives. All in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from modalities.common.steps import distributed


def unit(x: Tensor) -> Tensor:
    """(..., D) scaled to length 1, in float32."""
    return F.normalize(x.float(), dim=-1)


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of query (n, D) finding its key (n, D) among it and negatives (K, D).

    The negatives are unit vectors already, from wherever they come: batch, memory bank or queue.
    """
    query, key = unit(query), unit(key)
    positive = (query * key).sum(-1, keepdim=True)  # (n, 1)
    logits = torch.cat([positive, query @ negatives.T], 1) / temperature  # (n, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def find(query: Tensor, candidates: Tensor, which: Tensor, temperature: float) -> Tensor:
    """InfoNCE where query (n, D)'s key is candidates (B, D)[which], and all others are negatives.

    The candidates are unit vectors already.
    """
    with torch.autocast(query.device.type, enabled=False):
        return F.cross_entropy(unit(query) @ candidates.T / temperature, which)  # (n, B)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Two views (n, D) of each item: each of the 2 B views finds its twin among all the others.

    Both directions; only a view's similarity to itself is left out (arXiv:2002.05709, eq. 1).
    Views of all processes are candidates, with gradients, so that the batch may be spread.
    """
    n = len(first)
    mine = torch.cat([unit(first), unit(second)])  # (2 n, D)
    all_views = distributed.gather(mine.view(2, n, -1).transpose(0, 1)).transpose(0, 1)
    candidates = all_views.reshape(-1, mine.shape[1])  # (2 B, D): first views, second views
    batch = len(candidates) // 2
    logits = mine @ candidates.T / temperature  # (2 n, 2 B)
    here = torch.arange(n, device=mine.device) + distributed.rank() * n
    itself = torch.cat([here, here + batch])
    twin = torch.cat([here + batch, here])
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, twin)
