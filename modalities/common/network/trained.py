"""The one door to models/NAME: the encoder that a run, or published weights, left there."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities import named
from modalities.items import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.base import Encoder

MODELS = Path("models")
WEIGHTS, CONFIG = "encoder.safetensors", "config.json"


@dataclass(frozen=True)
class Start:
    """Where others may begin; nothing is read into memory before it is asked for."""

    folder: Path
    config: Mapping[str, Any]  # what builds the encoder again, and where it comes from
    digest: str  # sha256 of the file of weights

    @cached_property
    def tensors(self) -> "dict[str, Tensor]":
        """The encoder's weights by name."""
        from safetensors.torch import load_file

        return load_file(self.folder / WEIGHTS)

    def encoder(self) -> "Encoder":
        """A fresh copy of the encoder."""
        build = named.network(self.config["modality"]).build_encoder
        encoder = build(self.config["encoder"], **self.config.get("encoder_options", {}))
        encoder.load_state_dict(self.tensors)
        return encoder


def opened(name: str) -> Start:
    """What is in models/NAME; UserError where nothing is, or where it is damaged."""
    folder = MODELS / name
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise UserError(
                f"{folder / file}: not found; run `python -m tasks pretrain {name}` first, or "
                f"`python -m tasks checkpoint {name}` for published weights"
            )
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    digest = sha256(folder / WEIGHTS)
    if config.get("sha256", digest) != digest:
        text = f"not what its {CONFIG} describes; `glean run {name}` brings it back"
        raise UserError(f"{folder / WEIGHTS}: {text}")
    return Start(folder, config, digest)


def sha256(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
