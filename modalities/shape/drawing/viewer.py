"""Clouds that can be turned by hand, as a fragment of a page: no library, no network.

Shapes: P points of a cloud.
"""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalities.shape.drawing.pictures import COLOURS, UNKNOWN

POINTS = 600  # of a cloud, at most

SCRIPT = """
(function () {
  const box = document.getElementById("NAME"), clouds = DATA, colours = COLOURS;
  const canvas = box.querySelector("canvas"), pick = box.querySelectorAll("select");
  const pen = canvas.getContext("2d"), size = canvas.width;
  let turn = 0.6, tilt = 0.4, held = null;
  function draw() {
    const cloud = clouds[pick[0].value], group = cloud.groups[pick[1].value] || [];
    const c = Math.cos(turn), s = Math.sin(turn), d = Math.cos(tilt), e = Math.sin(tilt);
    const seen = [];
    for (let i = 0; i < cloud.points.length; i += 3) {
      const x = cloud.points[i] / 127, y = cloud.points[i + 1] / 127, z = cloud.points[i + 2] / 127;
      const a = c * x - s * z, b = s * x + c * z;
      seen.push([a, d * y - e * b, e * y + d * b, group[i / 3]]);
    }
    seen.sort((p, q) => p[2] - q[2]);
    pen.clearRect(0, 0, size, size);
    for (const [x, y, z, g] of seen) {
      pen.fillStyle = g >= 0 ? colours[g % (colours.length - 1)] : colours[colours.length - 1];
      pen.globalAlpha = 0.65 + 0.35 * z;
      pen.beginPath();
      pen.arc(size * (0.5 + 0.47 * x), size * (0.5 - 0.47 * y), 3 + z, 0, 7);
      pen.fill();
    }
  }
  canvas.onpointerdown = e => {
    held = [e.clientX, e.clientY];
    canvas.setPointerCapture(e.pointerId);
  };
  canvas.onpointerup = () => { held = null; };
  canvas.onpointermove = e => {
    if (!held) return;
    turn += (e.clientX - held[0]) / 120;
    tilt = Math.max(-1.5, Math.min(1.5, tilt + (e.clientY - held[1]) / 120));
    held = [e.clientX, e.clientY];
    draw();
  };
  canvas.onkeydown = e => {
    const keys = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1],
                  ArrowDown: [0, 0.1]}, step = keys[e.key];
    if (!step) return;
    turn += step[0]; tilt += step[1]; e.preventDefault(); draw();
  };
  pick.forEach(each => { each.onchange = draw; });
  draw();
})();
"""


@dataclass(frozen=True)
class Cloud:
    """A cloud (P, 3) in the unit sphere, and groups of its points (P,) by what they are."""

    name: str
    points: NDArray[Any]
    groups: dict[str, NDArray[Any]]


def fragment(clouds: Sequence[Cloud]) -> str:
    """A canvas to turn by mouse, finger or arrow keys, and which cloud, coloured by which groups.

    All clouds have the same kinds of groups.
    """
    kinds = list(clouds[0].groups)
    data = json.dumps([_data(cloud, kinds) for cloud in clouds], separators=(",", ":"))
    colours = json.dumps([f"rgb({','.join(str(int(v)) for v in c)})" for c in [*COLOURS, UNKNOWN]])
    name = "clouds-" + sha256(data.encode()).hexdigest()[:12]
    script = SCRIPT.replace("COLOURS", colours).replace("NAME", name).replace("DATA", data)
    return (
        f'<div id="{name}" class="clouds">\n'
        f"<label>shape <select>{_choices([c.name for c in clouds])}</select></label>\n"
        f"<label>coloured by <select>{_choices(kinds)}</select></label><br>\n"
        '<canvas width="360" height="360" tabindex="0" style="touch-action:none;cursor:grab" '
        'aria-label="a cloud of points; turn it with the arrow keys"></canvas>\n'
        f"<script>{script}</script>\n</div>\n"
    )


def _choices(names: Sequence[str]) -> str:
    return "".join(f'<option value="{i}">{html.escape(n)}</option>' for i, n in enumerate(names))


def _data(cloud: Cloud, kinds: Sequence[str]) -> dict[str, Any]:
    step = max(1, -(-len(cloud.points) // POINTS))
    points = np.clip(np.rint(cloud.points[::step, :3] * 127), -127, 127).astype(int)
    groups = [np.asarray(cloud.groups[kind])[::step].astype(int).tolist() for kind in kinds]
    return {"points": points.ravel().tolist(), "groups": groups}
