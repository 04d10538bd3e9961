"""The stage `checkpoint`: published weights in a local file in, an encoder as of a run out."""

from importlib import import_module
from pathlib import Path

from modalities.common.network.trained import MODELS, WEIGHTS, sha256
from tasks.channel import Channel
from tasks.settings.params import Params
from tasks.stage import output, write_json


def checkpoint(params: Params, tell: Channel, *, checkpoint: str) -> None:
    """Write models/CHECKPOINT: what `transfer` needs to measure it as it measures a run."""
    from safetensors.torch import save_file

    modality = params.modality_of(checkpoint)
    section = params.section(modality)
    chosen = section.published[checkpoint]
    published = import_module(f"modalities.{modality}.published")
    encoder = published.load(chosen.encoder, Path(chosen.file), **chosen.encoder_options)
    weights = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    with output(MODELS / checkpoint) as folder:
        save_file(weights, folder / WEIGHTS)
        config = {
            "modality": modality, "run": checkpoint, "objective": None, "dim": encoder.dim,
            "encoder": chosen.encoder, "encoder_options": dict(chosen.encoder_options),
            "file": Path(chosen.file).name, "sha256": sha256(folder / WEIGHTS),
        }  # fmt: skip
        count = sum(p.numel() for p in encoder.parameters())
        write_json(folder / "config.json", config)
        write_json(folder / "metrics.json", {"parameters": count, "run": checkpoint})
    tell.log(f"{checkpoint}: {chosen.encoder} with the weights of {chosen.file}, {count:,} numbers")
