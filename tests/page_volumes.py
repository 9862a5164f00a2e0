"""What a page holds: its volumes, unpacked as the browser does it."""

from __future__ import annotations

import base64
import json
import re
import zlib

import numpy as np

__all__ = ["held_content", "unpacked", "volumes_of_page"]


def held_content(page: str) -> tuple[list[dict], dict[str, bytes]]:
    """The scenes of a page as its script reads them, and what its data elements hold."""
    scenes = re.search(r'<script type="application/json" id="viewer-scenes">(.*?)</script>', page)
    assert scenes is not None
    texts = re.findall(r'<script type="application/octet-stream" id="([^"]*)">([^<]*)</script>', page)
    return json.loads(scenes[1])["scenes"], {name: base64.b64decode(text) for name, text in texts}


def unpacked(content: bytes, shape) -> np.ndarray:
    """`voxels` of volumes.js, in numpy: indices above the window's lower end."""
    low, high = np.frombuffer(zlib.decompress(content), np.uint8).astype(np.uint16).reshape(2, -1)
    folded = low | (high << 8)
    below = (folded >> 1) ^ -(folded & 1).astype(np.int16)
    return below.reshape(shape).astype(np.int64).cumsum(0).astype(np.int16)


def volumes_of_page(page: str) -> dict[str, np.ndarray]:
    """The volumes of the first scene, by name, in the unit of its window."""
    (scene, *_), payload = held_content(page)
    return {
        entry["name"]: scene["low"] + scene["quantum"] * unpacked(payload[entry["id"]], scene["shape"])
        for entry in scene["volumes"]
    }
