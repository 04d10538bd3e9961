"""The Playroom: a generated world with every ground truth that the tasks need, from one seed."""

from modalities.items import UserError
from tasks.channel import Channel
from tasks.params import MODALITIES, Params, nearest


def playroom(params: Params, tell: Channel, modality: str) -> None:
    """Generate raw/playroom/MODALITY in a public format."""
    if modality != "image":
        raise UserError(f"no Playroom for {modality!r}{nearest(modality, list(MODALITIES))}")
    from tasks.playroom.image import make

    make(params, tell)
