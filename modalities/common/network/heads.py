"""Small networks that sit on an encoder while it is pretrained, and are thrown away after."""

from itertools import pairwise

from torch import nn


def mlp(*widths: int, norm: bool = False) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them; `norm`: batch norm before each ReLU.

    `mlp(512, 512, 128)` is MoCo v2's head, with `norm=True` close to SimCLR's and BYOL's.
    """
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for i, (before, after) in enumerate(pairwise(widths)):
        hidden = i < last
        layers.append(nn.Linear(before, after, bias=not (norm and hidden)))
        if hidden:
            layers += [nn.BatchNorm1d(after)] if norm else []
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
