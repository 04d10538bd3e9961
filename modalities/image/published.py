"""Weights that others have published, in an encoder of ours: from a file, or downloaded to one.

A file holds tensors by name, as safetensors or as torch saves a state dict. The names may be those
of our encoder (what `pretrain` writes), or those of torchvision's or timm's own network, whose
classifier is left out.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from modalities.base import UserError
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.factory import body_of, build
from modalities.image.network.timm_nets import PREFIX, TimmBackbone, TimmViT, create
from modalities.image.network.torchvision_nets import Backbone


def load(name: str, path: Path, **options: Any) -> ImageEncoder:
    """The encoder `name` with the weights of a file; UserError where they do not fit."""
    tensors = read(path)
    encoder = build(name, **options)
    if set(tensors) == set(encoder.state_dict()):
        return _filled(encoder, tensors, path)
    if isinstance(encoder, Backbone):
        known = encoder.native
        theirs = {own: tensors[name] for own, name in known.items() if name in tensors}
        return _filled(encoder, theirs, path)
    body = body_of(name)
    if body in (TimmViT, TimmBackbone):
        missing = next((key for key in create(name, None).state_dict() if key not in tensors), None)
        if missing:  # timm would go on with random numbers
            raise UserError(f"{path}: expected a tensor for {missing}, found none of its name")
        try:
            return body(name, path, **options)
        except RuntimeError as error:
            raise UserError(f"{path}: not the weights of {name}: {str(error)[:400]}") from None
    return _filled(
        encoder, {key: tensors[key] for key in encoder.state_dict() if key in tensors}, path
    )


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing in it is run."""
    if not path.is_file():
        raise UserError(f"{path}: expected a file of weights, found none")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each library has exceptions of its own
        raise UserError(f"{path}: not a file of weights: {error}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError(f"{path}: expected tensors by name, found {type(found).__name__}")
    return {str(key): value for key, value in found.items()}


def _filled(encoder: ImageEncoder, tensors: dict[str, Tensor], path: Path) -> ImageEncoder:
    try:
        encoder.adopt(tensors)
    except UserError as mistake:
        raise UserError(f"{path}: {mistake}") from None
    return encoder


def download(name: str, path: Path) -> None:
    """Fetch the weights that timm or torchvision publish for `name`, and keep them in a file."""
    from safetensors.torch import save_file

    body = body_of(name)
    try:
        if body in (TimmViT, TimmBackbone):
            import timm

            model = timm.create_model(name.removeprefix(PREFIX), pretrained=True)
        elif body is Backbone:
            from torchvision.models import get_model

            model = get_model(name, weights="DEFAULT")
        else:
            raise UserError(f"nobody has published weights for {name!r}; try timm/resnet18")
    except (OSError, RuntimeError) as error:
        raise UserError(f"{name}: its weights could not be had: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
