"""What the units of a network that learnt from sound respond to: their top frames.

As in arXiv:1608.07017, figure 4. Shapes: B clips, F frames of each, U units, h w places of the map.
"""

import base64
import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalities.image.network.contract import ImageEncoder
from modalities.image.network.views import prepare
from modalities.video.clips import frames_of

UNITS = 16  # shown: those that respond to the fewest clips
SHOWN = 8  # frames of a unit
STRONG = 0.5  # of the largest response: what is lit in a picture


@torch.no_grad()
def top_frames(encoder: ImageEncoder, items: Tensor) -> str:
    """A page fragment: for the most selective units the frames they respond to most, where lit.

    items (B, L) packed clips. Selective: a large share of the response comes from few clips.
    """
    frames = frames_of(items).flatten(0, 1)  # (B F, H, W, 3)
    maps = torch.cat([encoder.maps(prepare(part))[-1].float() for part in frames.split(256)])
    peaks = maps.amax((2, 3)).clamp(min=0)  # (B F, U)
    each = frames_of(items).shape[1]
    by_clip = peaks.view(-1, each, peaks.shape[1]).amax(1)  # (B, U)
    few = by_clip.sort(0, descending=True)[0][: max(1, len(by_clip) // 12)].sum(0)
    selective = few / by_clip.sum(0).clamp(min=1e-6)
    selective[by_clip.amax(0) < 1e-6] = 0
    parts = ['<div class="units">']
    for unit in selective.argsort(descending=True)[:UNITS].tolist():
        order = by_clip[:, unit].argsort(descending=True)[:SHOWN]
        best = order * each + peaks.view(-1, each, peaks.shape[1])[order, :, unit].argmax(1)
        pictures = [_lit(frames[i], maps[i, unit]) for i in best.tolist()]
        share = f"{float(selective[unit]):.0%} of its response comes from a twelfth of the clips"
        parts.append(f'<p style="margin:.2em 0"><b>Unit {unit}</b>: {share}<br>'
                     + "".join(_image(p) for p in pictures) + "</p>")  # fmt: skip
    return "\n".join([*parts, "</div>"]) + "\n"


def _lit(frame: Tensor, response: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3), darkened where the unit responds weakly."""
    height, width = frame.shape[:2]
    wide = torch.nn.functional.interpolate(
        response[None, None], (height, width), mode="bilinear", align_corners=False
    )[0, 0]
    weight = torch.where(wide >= STRONG * response.max(), 1.0, 0.35)
    return (frame.float() * weight[:, :, None]).byte().cpu().numpy()


def _image(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" height="64" src="data:image/png;base64,{data}"> '
