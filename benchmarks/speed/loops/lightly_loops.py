"""lightly's own training loops, as its documentation shows them in plain PyTorch.

The encoder is torchvision's or, by a name that only we have, ours; for MAE it is timm's of the same
shape. Each takes the pictures of an array in memory through lightly's transform in a DataLoader,
and yields the number of pictures of each step, for ever. On a GPU it has autocast in bf16 and
pinned memory, as ours has.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LR = 0.06


def encoder_of(name: str) -> Any:
    """A network that gives (B, D) features, with D as `dim`; of torchvision's, ResNets only."""
    from torch import nn
    from torchvision.models import get_model, list_models

    if name not in list_models():
        from modalities.image.network import build_encoder

        return build_encoder(name)
    network = get_model(name, weights=None)
    dim = network.fc.in_features
    network.fc = nn.Identity()
    network.dim = dim
    return network


class Pictures:
    """Pictures (N, H, W, 3) uint8 and how they get to the device."""

    def __init__(self, items: np.ndarray, batch: int, workers: int, device: str) -> None:
        self.items, self.batch, self.workers, self.device = items, batch, workers, device
        self.size = items.shape[1]

    def views(self, transform: Any) -> Iterator[Any]:
        """What lightly's transform makes of shuffled pictures, a batch at a time."""
        import torch
        from PIL import Image

        items = self.items

        class Transformed(torch.utils.data.Dataset[Any]):
            def __len__(self) -> int:
                return len(items)

            def __getitem__(self, i: int) -> Any:
                return transform(Image.fromarray(items[i]))

        data = torch.utils.data.DataLoader(
            Transformed(), batch_size=self.batch, shuffle=True, drop_last=True,
            num_workers=self.workers, pin_memory=self.device == "cuda",
            persistent_workers=True,
        )  # fmt: skip
        while True:
            for views in data:
                yield [view.to(self.device, non_blocking=True) for view in views]

    def steps(self, model: Any, loss: Callable[[Any], Any], views: Iterator[Any]) -> Iterator[int]:
        """Forward, backward, SGD."""
        import torch

        sgd = torch.optim.SGD(model.parameters(), lr=LR)
        for each in views:
            with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
                found = loss(each)
            found.backward()
            sgd.step()
            sgd.zero_grad()
            yield self.batch


def simclr(encoder: Any, pictures: Pictures) -> Iterator[int]:
    import torch
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    model = torch.nn.Sequential(encoder, SimCLRProjectionHead(encoder.dim, encoder.dim, 128))
    model.to(pictures.device)
    criterion = NTXentLoss()
    views = pictures.views(SimCLRTransform(input_size=pictures.size))
    return pictures.steps(model, lambda v: criterion(model(v[0]), model(v[1])), views)


def moco_v2(encoder: Any, pictures: Pictures) -> Iterator[int]:
    import torch
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import MoCoV2Transform

    model = torch.nn.Sequential(encoder, MoCoProjectionHead(encoder.dim, encoder.dim, 128))
    model.to(pictures.device)
    follower = copy.deepcopy(model)
    deactivate_requires_grad(follower)
    criterion = NTXentLoss(memory_bank_size=(4096, 128)).to(pictures.device)

    def loss(views: Any) -> Any:
        update_momentum(model, follower, m=0.99)
        with torch.no_grad():
            key = follower(views[1])
        return criterion(model(views[0]), key)

    views = pictures.views(MoCoV2Transform(input_size=pictures.size))
    return pictures.steps(model, loss, views)


def byol(encoder: Any, pictures: Pictures) -> Iterator[int]:
    import torch
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import BYOLTransform
    from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform

    leader = torch.nn.Sequential(encoder, BYOLProjectionHead(encoder.dim, 1024, 256))
    predictor = BYOLPredictionHead(256, 1024, 256)
    model = torch.nn.ModuleList([leader, predictor]).to(pictures.device)
    follower = copy.deepcopy(leader)
    deactivate_requires_grad(follower)
    criterion = NegativeCosineSimilarity()

    def loss(views: Any) -> Any:
        update_momentum(leader, follower, m=0.99)
        with torch.no_grad():
            targets = [follower(view) for view in views[:2]]
        guesses = [predictor(leader(view)) for view in views[:2]]
        return (criterion(guesses[0], targets[1]) + criterion(guesses[1], targets[0])) / 2

    size = pictures.size
    transform = BYOLTransform(
        BYOLView1Transform(input_size=size), BYOLView2Transform(input_size=size)
    )
    return pictures.steps(model, loss, pictures.views(transform))


def mae(encoder: Any, pictures: Pictures) -> Iterator[int]:
    """lightly's decoder and masking around timm's transformer of the same shape as our encoder."""
    import torch
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
    from lightly.transforms import MAETransform
    from timm.models.vision_transformer import VisionTransformer

    size, patch, width = pictures.size, encoder.patch, encoder.dim
    net = VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=width, depth=6, num_heads=3, num_classes=0
    )
    backbone = MaskedVisionTransformerTIMM(vit=net)
    count = backbone.sequence_length
    decoder = MAEDecoderTIMM(
        num_patches=net.patch_embed.num_patches, patch_size=patch, embed_dim=width,
        decoder_embed_dim=96, decoder_depth=1, decoder_num_heads=3, mlp_ratio=4.0,
        proj_drop_rate=0.0, attn_drop_rate=0.0,
    )  # fmt: skip
    model = torch.nn.ModuleList([backbone, decoder]).to(pictures.device)
    criterion = torch.nn.MSELoss()

    def loss(views: Any) -> Any:
        images = views[0]
        kept, masked = utils.random_token_mask(
            size=(len(images), count), mask_ratio=0.75, device=images.device
        )
        seen = decoder.embed(backbone.encode(images=images, idx_keep=kept))
        full = utils.repeat_token(decoder.mask_token, (len(images), count))
        full = utils.set_at_index(full, kept, seen.type_as(full))
        guess = decoder.predict(utils.get_at_index(decoder.decode(full), masked))
        patches = utils.patchify(images, patch)
        return criterion(guess, utils.get_at_index(patches, masked - 1))  # no class token there

    return pictures.steps(model, loss, pictures.views(MAETransform(input_size=size)))


LOOPS: dict[str, Callable[[Any, Pictures], Iterator[int]]] = {
    "simclr": simclr, "moco_v2": moco_v2, "byol": byol, "mae": mae,
}  # fmt: skip
