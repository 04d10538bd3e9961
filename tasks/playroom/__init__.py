"""The Playroom: a generated world with every ground truth that the tasks need, from one seed."""

from importlib import import_module

from modalities.items import UserError
from tasks.channel import Channel
from tasks.settings.mistakes import nearest
from tasks.settings.params import MODALITIES, Params


def playroom(params: Params, tell: Channel, modality: str) -> None:
    """Generate raw/playroom/MODALITY in a public format."""
    if modality not in MODALITIES:
        raise UserError(f"no Playroom for {modality!r}{nearest(modality, list(MODALITIES))}")
    import_module(f"tasks.playroom.{modality}").make(params, tell)
