"""Volumes in a page, and what lets a reader look through them: NiiVue, without a network or a server.

A page is one file, so the volumes travel inside it. A voxel is stored as a whole number of quanta above the window's
lower end,

    index = round((value - low) / quantum),    value = low + quantum index,

so it comes back to within half a quantum. Neighbouring slices are alike: what is written is the difference of an
index from that of the slice below, with the sign folded into the lowest bit (0, -1, 1, -2, ... become 0, 1, 2, 3, ...),
all low bytes first and all high bytes, nearly all 0, after them, deflated, in base64. On chest CT this takes a tenth
less than the indices themselves, and less than differences along x or along several axes. A browser undoes it with a
sum (templates/volumes.js). The quantum is 1 HU, or 1/4096 of another window, doubled until all volumes of the page fit
a budget. Maps of the error are not stored; the browser subtracts. Layers, such as the half-width of an interval, are
stored in the same way with low = 0 and a quarter of the finest quantum, since they are small numbers.

NiiVue is not part of coslice. It is found in the installed package `ipyniivue`, which brings it along for notebooks,
and put into the page as it stands, with its licence. Where that package is missing (it is in the extra `viewer`), the
page says so in the place of the viewer.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from coslice.axes import AXES, PLANES
from coslice.errors import CosliceError
from coslice.metrics import PER_PLANE
from coslice.report.environment import source, template
from coslice.report.pictures import Range, Spacing, check_volumes, error_map, error_scale, shown
from coslice.window import DISPLAYS

__all__ = ["Scene", "has_niivue", "packed", "viewer"]

_DOUBLINGS = 6  # quanta to try: 1 to 32 HU, 1/4096 to 1/128 of other windows
_LEVEL = 6  # of deflate
_FINER = 4  # a layer's quantum is this part of a volume's finest
_LAYERS_SHARE = 1 / 3  # of the budget, that layers may take
_OPACITY = 0.8  # of a layer where it is largest
_FARTHEST = 2**15 - 1  # an index is an int16

_SHARES = (("lower half", 0.0, 0.5), ("lower quarter", 0.0, 0.25), ("10 to 90 %", 0.1, 0.9))


@dataclass(frozen=True)
class Scene:
    """Volumes on one grid that the viewer shows together.

    Attributes:
        title: shown in a chooser where a page has several scenes.
        volumes: by name, (z, y, x) in the unit window, RAS+; the first is the reference, the truth where it is known.
        spacing: (dz, dy, dx), mm.
        window: value in `unit` of unit 0 and of unit 1.
        unit: the name of the physical unit of `window`.
        known: whether the first volume is the truth; else no errors are shown.
        numbers: by volume, as `coslice.metrics.evaluate` gives them, shown beside the chosen one.
        layers: by name, (z, y, x) from 0 up, in units of the window's width; one at a time can be laid over the
            method's picture.

    Raises:
        CosliceError: for no volume, volumes of different shapes, values that are not finite, an empty window, or layers
            below 0.
    """

    title: str
    volumes: Mapping[str, Tensor]
    spacing: Spacing
    window: Range
    unit: str = "HU"
    known: bool = True
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_volumes("viewer", self.volumes, self.spacing, self.window, self.window)
        if self.layers:
            first = dict([next(iter(self.volumes.items()))])
            check_volumes("viewer", first | dict(self.layers), self.spacing, self.window, self.window)
        for name, layer in self.layers.items():
            if bool((layer < 0).any()):
                raise CosliceError(
                    f"viewer: the layer '{name}' is below 0 in some voxels; values from 0 up are needed."
                )

    @property
    def finest(self) -> float:
        """The smallest quantum, in `unit`."""
        return 1.0 if self.unit == "HU" else (self.window[1] - self.window[0]) / 4096

    @property
    def presets(self) -> list[dict[str, Any]]:
        """Ranges of values to show black and white, the default first."""
        low, high = self.window
        if self.unit == "HU":
            ranges = [*((name, *ends) for name, ends in DISPLAYS.items()), ("all", low, high)]
        else:
            ranges = [(name, low + a * (high - low), low + b * (high - low)) for name, a, b in _SHARES]
            ranges = [("all", low, high), *ranges]
        usual = shown(self.window, self.unit)
        ranges.sort(key=lambda one: one[1:] != usual)
        return [{"name": name, "low": black, "high": white} for name, black, white in ranges]


def viewer(scenes: Sequence[Scene], budget: int = 24_000_000) -> Markup | None:
    """HTML to drop into a page: one section with style, volumes, NiiVue and script.

    Args:
        scenes: at least one; a chooser switches between several.
        budget: bytes the volumes may take in the page, all together. The quantum grows until they fit; where even the
            coarsest is not enough, the last volumes are left out, and the section says which.

    Returns:
        The section, or None where the package `ipyniivue`, which carries NiiVue, is not installed.

    Raises:
        CosliceError: no scene.
    """
    if not scenes:
        raise CosliceError("viewer: no scene was given, at least one is needed.")
    script = _niivue()
    if script is None:
        return None
    laid = {
        f"viewer-{i}-layer-{j}": _text(packed(layer, (0.0, scene.window[1] - scene.window[0]), scene.finest / _FINER))
        for i, scene in enumerate(scenes)
        for j, layer in enumerate(scene.layers.values())
    }
    taken = sum(map(len, laid.values()))
    laid, taken = (laid, taken) if taken <= _LAYERS_SHARE * budget else ({}, 0)
    doublings, kept, texts = _fitted(scenes, budget - taken)
    dropped = [
        name if len(scenes) == 1 else f"{scene.title}: {name}"
        for scene, names in zip(scenes, kept, strict=True)
        for name in scene.volumes
        if name not in names
    ]
    dropped += [] if laid else [name for scene in scenes for name in scene.layers]
    shown_scenes, payload = [], {}
    for i, (scene, names) in enumerate(zip(scenes, kept, strict=True)):
        if names:
            described = _described(scene, names, scene.finest * 2**doublings, f"viewer-{i}")
            shown_scenes.append(described | {"layers": _layers(scene, f"viewer-{i}") if laid else []})
            payload |= {f"viewer-{i}-{j}": texts[i, name] for j, name in enumerate(names)}
    if not shown_scenes:
        return Markup('<p class="note">The volumes are too large for a viewer in this page.</p>')
    payload |= laid
    payload["viewer-niivue"] = _text(_deflated(script))
    quanta = dict.fromkeys(_quantum(scene, 2**doublings) for scene in scenes)
    return Markup(
        template("viewer.html").render(
            scenes=shown_scenes,
            planes=list(PLANES),
            content=_json({"scenes": shown_scenes, "axes": AXES, "planes": _planes(), "colours": _colours()}),
            payload=payload,
            quanta=", ".join(quanta),
            dropped=dropped,
            css=source("viewer.css"),
            js=Markup("\n").join((source("volumes.js"), source("viewer.js"))),
            licence=source("niivue-licence.txt"),
        )
    )


def packed(volume: Tensor, window: Range, quantum: float) -> bytes:
    """A volume as the browser unpacks it.

    Args:
        volume: (z, y, x) in the unit window.
        window: value of unit 0 and of unit 1.
        quantum: the step that values are rounded to, in the unit of `window`. Values more than 32767 steps from
            `window[0]` are stored as the farthest that can be.

    Returns:
        Deflated: the low bytes of all voxels, then the high bytes, see the module's docstring.
    """
    scale = (window[1] - window[0]) / quantum
    # Runs of air and Huffman's code are all that helps with noise: to look for longer matches takes several times as
    # long and finds none.
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    low, high = [], []
    below = np.zeros(tuple(volume.shape[1:]), np.int16)
    for image in volume.detach().cpu():  # a slice at a time: a whole volume in float64 is twice the volume
        index = image.double().mul_(scale).round_().clamp_(-_FARTHEST, _FARTHEST).numpy().astype(np.int16)
        step = index - below  # modulo 2^16, as the browser's sum is
        below = index
        folded = ((step << 1) ^ (step >> 15)).view(np.uint16)
        low.append(deflate.compress((folded & 255).astype(np.uint8).tobytes()))
        high.append((folded >> 8).astype(np.uint8).tobytes())
    return b"".join((*low, *map(deflate.compress, high), deflate.flush()))


def has_niivue() -> bool:
    """Whether pages written here have a viewer."""
    return _niivue() is not None


def _niivue() -> bytes | None:
    """The script that carries NiiVue; importing its package would pull in all of Jupyter."""
    found = importlib.util.find_spec("ipyniivue")
    for place in (found.submodule_search_locations if found else None) or ():
        path = Path(place) / "static" / "widget.js"
        if path.is_file():
            return path.read_bytes()
    return None


def _json(values: Mapping[str, Any]) -> Markup:
    """JSON that nothing in a page takes for markup."""
    return Markup(json.dumps(values).replace("<", "\\u003c"))


@lru_cache(maxsize=1)
def _deflated(script: bytes) -> bytes:
    return zlib.compress(script, 9)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _fitted(scenes: Sequence[Scene], budget: int) -> tuple[int, list[list[str]], dict[tuple[int, str], str]]:
    """How often the finest quantum is doubled, the names kept by scene, and the texts by scene and name."""
    texts: dict[tuple[int, str], str] = {}
    for doublings in range(_DOUBLINGS):
        texts = {
            (i, name): _text(packed(volume, scene.window, scene.finest * 2**doublings))
            for i, scene in enumerate(scenes)
            for name, volume in scene.volumes.items()
        }
        if sum(map(len, texts.values())) <= budget:
            return doublings, [list(scene.volumes) for scene in scenes], texts
    kept = [list(scene.volumes) for scene in scenes]
    while sum(len(texts[i, name]) for i, names in enumerate(kept) for name in names) > budget:
        max(reversed(kept), key=len).pop()  # the last of the scene with the most, so that all keep a reference
    return _DOUBLINGS - 1, kept, texts


def _described(scene: Scene, names: Sequence[str], quantum: float, stem: str) -> dict[str, Any]:
    """What the script needs to know of a scene."""
    metrics = {name: scene.numbers.get(name, {}) for name in names}
    return {
        "title": scene.title,
        "shape": list(next(iter(scene.volumes.values())).shape),
        "spacing": list(scene.spacing),
        "unit": scene.unit,
        "low": scene.window[0],
        "quantum": quantum,
        "known": scene.known,
        "presets": scene.presets,
        "limit": error_scale(scene.volumes, scene.window) if scene.known else 0,
        "volumes": [
            {"name": name, "id": f"{stem}-{j}", "metrics": {p: _texts(metrics[name].get(p, {})) for p in PLANES}}
            for j, name in enumerate(names)
        ],
    }


def _layers(scene: Scene, stem: str) -> list[dict[str, Any]]:
    """What the script needs to know of the layers of a scene; "limit" is the value shown in the brightest colour."""
    span = scene.window[1] - scene.window[0]
    return [
        {
            "name": name,
            "id": f"{stem}-layer-{j}",
            "quantum": scene.finest / _FINER,
            "limit": error_scale({"nothing": torch.zeros_like(layer), name: layer}, (0.0, span)),
        }
        for j, (name, layer) in enumerate(scene.layers.items())
    ]


def _planes() -> dict[str, dict[str, str]]:
    """The axes of the planes: across which they are stacked, and those of a picture's rows and columns."""
    return {
        plane.name: {"along": plane.along, "down": plane.rows, "across": plane.columns} for plane in PLANES.values()
    }


def _colours() -> dict[str, dict[str, list[int]]]:
    """The colours of `error_map` as NiiVue wants them: at places I from 0 to 255, red, green, blue and opacity.

    "errors" hides what is below it; a layer, "layers", does so the more the larger its value is.
    """
    places = list(range(0, 256, 5))
    ramp = error_map(np.array([places], dtype=np.float32), 255.0)[0]
    shades = {name: ramp[:, i].tolist() for i, name in enumerate("RGB")}
    opaque, rising = [255] * len(places), [round(_OPACITY * place) for place in places]
    return {"errors": shades | {"A": opaque, "I": places}, "layers": shades | {"A": rising, "I": places}}


def _texts(metrics: Mapping[str, Any]) -> list[str]:
    """The numbers of a plane that are known, as text: "PSNR 31.23 dB"."""
    known = [(quantity, metrics.get(quantity.name)) for quantity in PER_PLANE]
    return [f"{quantity.title} {quantity.with_unit(value)}" for quantity, value in known if value is not None]


def _quantum(scene: Scene, doubled: int) -> str:
    if scene.unit == "HU":
        return f"{scene.finest * doubled:g} HU"
    return f"1/{4096 // doubled} of the window"
