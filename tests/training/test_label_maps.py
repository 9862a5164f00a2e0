"""Masks, label maps and probability maps are no scans, whatever they are called; a scan is one, whatever its name."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from coslice.training.collection.label_maps import check_image
from coslice.training.collection.skips import Unusable

SHAPE = (12, 40, 40)
GENERATOR = np.random.default_rng(0)
BLOBS = ndimage.gaussian_filter(GENERATOR.normal(size=SHAPE), 4)
BLOBS /= BLOBS.std()
REGIONS = ndimage.zoom(np.arange(1, 121).reshape(4, 6, 5), (3, 40 / 6, 8), order=0)
"""A hundred and twenty boxes with a number each."""
ANATOMY = np.where(BLOBS > 0, 100 * BLOBS + 60, 0) + np.where(BLOBS > 0, GENERATOR.normal(0, 6, SHAPE), 0)
SMOOTH = 1 / (1 + np.exp(-40 * BLOBS))
"""Of a tissue that most voxels are certain of."""


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (BLOBS > 0, "T1w", "masks"),
        (255 * (BLOBS > 2), "ct", "masks"),
        (np.where(BLOBS > 0, -1000, 40), "ct", "masks"),
        ((2 * BLOBS).round().clip(0, 3), "a", "label maps (few"),
        (np.where(BLOBS > 2, 251, 0) + np.where(BLOBS < -2, 2000, 0), "a", "label maps (few"),
        ((BLOBS > 0) * 2 - 1 + (BLOBS > 1), "a", "label maps (few"),
        (REGIONS, "parcels", "label maps (regions"),
        (REGIONS * 97, "a", "label maps (regions"),
        ((4 * BLOBS).round() + 20, "sub-1_dseg", "label maps (regions"),
        (np.zeros(SHAPE) + 3, "a", "one value"),
        (SMOOTH, "c1", "probability"),
        (SMOOTH * 255, "c2T1", "probability"),
        ((ANATOMY - ANATOMY.min()) / np.ptp(ANATOMY), "sub-01_label-GM_probseg", "probability"),
        (np.clip(0.5 + 0.2 * BLOBS, 0, 1), "masks/p1", "probability"),
    ],
)
def test_what_is_no_image_is_refused_with_its_kind(values, name, kind):
    with pytest.raises(Unusable, match="here") as raised:
        check_image(torch.from_numpy(np.float32(values)), name.split("/"), "here")
    assert raised.value.kind.startswith(kind)


@pytest.mark.parametrize(
    "name", ["T1w", "brain_mask", "labelsTr/p1", "derivatives/sub-01/sub-01_label-x_T1w", "p_dseg"]
)
@pytest.mark.parametrize(
    "values",
    [
        ANATOMY.round(),
        ANATOMY,
        (ANATOMY / ANATOMY.max() * 255).round(),  # 8 bits
        (ANATOMY / ANATOMY.max() * 255).round() - 128,
        GENERATOR.normal(100, 900, SHAPE).round() // 8 * 8,
        np.where(BLOBS > 0, 0.3, -0.2) + 0.001 * (GENERATOR.random(SHAPE) > 0.5),  # a phantom in other units
    ],
    ids=["integers", "floats", "uint8", "int8", "CT", "phantom"],
)
def test_a_scan_is_one_whatever_it_is_called(values, name):
    check_image(torch.from_numpy(np.float32(values)), name.split("/"), "here")


def test_a_ball_of_water_is_a_scan():
    values = np.where(BLOBS > 0, 1000, 5) + GENERATOR.normal(0, 4, SHAPE).clip(-5)
    check_image(torch.from_numpy(np.float32(values)), ["water"], "here")


@pytest.mark.parametrize("high", [1, 4000])
def test_a_scan_from_nought_to_one_is_a_map_only_by_name(high):
    values = torch.from_numpy(np.float32(ANATOMY.clip(0) / ANATOMY.max() * high))
    check_image(values, ["derivatives", "sub-01_T1w"], "here")
    if high == 1:
        with pytest.raises(Unusable, match="its name says so"):
            check_image(values, ["sub-01_probseg"], "here")
