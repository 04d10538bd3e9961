"""Networks for pictures, by name: `small`, `vit`, those of torchvision, `timm/NAME`."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from modalities.base import UserError
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.small import Small
from modalities.image.network.torchvision_nets import FAMILIES, Backbone
from modalities.image.network.vit import ViT


def known() -> list[str]:
    """All names that `build` knows but for those of timm. Imports torchvision."""
    from torchvision import models

    return [*_own(), *(n for n in models.list_models(models) if n.startswith(FAMILIES))]


def body_of(name: str) -> Callable[..., ImageEncoder]:
    """The class of an encoder; UserError for a name that does not exist."""
    own = _own()
    if name in own:
        return own[name]
    timm = name.startswith("timm/")
    if timm:
        from modalities.image.network import timm_nets
    names = timm_nets.names() if timm else known()
    if name not in names:
        raise UserError(f"unknown encoder {name!r}{_nearest(name, names)}")
    if not timm:
        return Backbone
    patched = name in timm_nets.transformers()
    return timm_nets.TimmViT if patched else timm_nets.TimmBackbone


def _own() -> dict[str, Callable[..., ImageEncoder]]:
    return {"small": Small, "vit": ViT}


def build(name: str, **options: Any) -> ImageEncoder:
    """A new encoder with random weights; UserError for a name or an option that does not exist."""
    body = body_of(name)
    kinds = inspect.signature(body).parameters
    allowed = [key for key, p in kinds.items() if p.kind is p.KEYWORD_ONLY]
    for key in options:
        if key not in allowed:
            raise UserError(f"encoder {name}: unknown option {key!r}{_nearest(key, allowed)}")
    return body(**_checked(name, options)) if name in _own() else body(name, **options)


def _checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of our own encoders, for callers that do not come by way of params.yaml."""
    good: dict[str, Callable[[Any], bool]] = {
        "widths": lambda v: isinstance(v, list | tuple) and v != [] and all(map(_count, v)),
        "stem": lambda v: v in (3, 4),
        **dict.fromkeys(("depth", "patch", "width", "heads"), _count),
    }
    for key, value in options.items():
        if not good[key](value):
            raise UserError(f"encoder {name}: option {key}: impossible value {value!r}")
    return options


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _nearest(word: str, names: list[str]) -> str:
    close = difflib.get_close_matches(word, names, 1, 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint}; allowed: {', '.join(names if len(names) < 12 or not close else close)}"
