"""Lesions that are put into a scan: exact partial volumes, and places that are what they are said to be."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.lesions import LUNG, SOFT_TISSUE, Lesion, insert, places, profile, resolvable, spread_lesions
from coslice.volume import Volume


def volume_of(data, spacing=(1.0, 1.0, 1.0)):
    return Volume(data, np.diag((*spacing[::-1], 1.0)))


def counted(lesion, spacing, shape, points=24):
    """Shares by counting a grid of points in each voxel: another way than rays that are cut."""
    axes = [
        ((np.arange(n * points) + 0.5) / points - 0.5 - c) * size
        for n, c, size in zip(shape, lesion.centre, spacing, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = np.sqrt(z**2 + y**2 + x**2)
    ramp = max(lesion.edge, 1e-9)
    inside = np.clip((lesion.diameter / 2 - distance) / ramp + 0.5, 0, 1)
    nz, ny, nx = shape
    return inside.reshape(nz, points, ny, points, nx, points).mean((1, 3, 5))


@pytest.mark.parametrize("edge", [0.0, 1.5])
def test_shares_are_those_of_a_fine_count(edge):
    lesion, spacing, shape = Lesion((4.3, 3.1, 2.8), 6.0, 1.0, edge), (1.0, 1.7, 2.1), (10, 7, 6)
    shares, box = profile(lesion, spacing, shape)
    whole = np.zeros(shape)
    whole[box] = shares.numpy()
    # The count itself is right to about 2e-3 of a voxel at a hard edge.
    assert np.abs(whole - counted(lesion, spacing, shape)).max() < 4e-3
    assert whole.min() >= 0 and whole.max() <= 1 + 1e-12


@pytest.mark.parametrize("centre", [(6.0, 6.0, 6.0), (6.5, 6.5, 6.5), (5.9, 6.2, 6.4)])
@pytest.mark.parametrize("diameter", [3.0, 8.0])
def test_the_volume_is_that_of_a_sphere(centre, diameter):
    spacing = (1.0, 0.8, 1.1)
    shares, _ = profile(Lesion(centre, diameter, 1.0), spacing, (14, 14, 14))
    assert float(shares.sum()) * math.prod(spacing) == pytest.approx(math.pi * diameter**3 / 6, rel=1e-3)


def test_a_centred_lesion_is_its_own_mirror_image():
    """Also where its surface touches faces of voxels, at a half-odd radius."""
    for diameter in (3.0, 4.0, 4.4):
        shares, _ = profile(Lesion((5, 5, 5), diameter, 1.0), (1, 1, 1), (11, 11, 11))
        assert all(n % 2 == 1 for n in shares.shape)
        assert torch.allclose(shares, shares.flip((0, 1, 2)), atol=1e-12)


def test_insert_adds_the_contrast_and_nothing_else():
    scan = volume_of(torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(0)) * 100)
    lesions = [Lesion((3, 3, 3), 4.0, 50.0), Lesion((8, 8, 8), 4.0, -100.0)]
    added = insert(scan, lesions).data - scan.data
    assert float(added[3, 3, 3]) == pytest.approx(50, abs=1e-3)
    assert float(added[8, 8, 8]) == pytest.approx(-100, abs=1e-3)
    assert float(added.double().sum()) == pytest.approx(-50 * math.pi * 4**3 / 6, rel=2e-3)
    assert not added[:, :, 0].any()


def test_what_does_not_fit_is_refused():
    scan = volume_of(torch.zeros(8, 8, 8))
    with pytest.raises(CosliceError, match="not wholly inside"):
        insert(scan, [Lesion((1, 4, 4), 4.0, 1.0)])
    with pytest.raises(CosliceError, match="shares a voxel"):
        insert(scan, [Lesion((4, 4, 3), 3.0, 1.0), Lesion((4, 4, 5), 3.0, 1.0)])
    with pytest.raises(CosliceError, match="no lesion"):
        insert(scan, [])
    right: dict[str, Any] = {"centre": (4.0, 4.0, 4.0), "diameter": 3.0, "contrast": 1.0}
    wrongs: list[dict[str, Any]] = [
        {"diameter": 0.0},
        {"contrast": 0.0},
        {"edge": 9.0},
        {"centre": (1.0, 2.0, math.nan)},
    ]
    for wrong in wrongs:
        with pytest.raises(CosliceError, match="Lesion"):
            Lesion(**right | wrong)


def body(seed=0):
    """Air, a body of 40 HU, two lungs of -850 HU in it, a rib in one of them; a little noise."""
    data = torch.full((20, 48, 48), -1000.0)
    data[:, 4:44, 4:44] = 40.0
    data[:, 8:30, 7:21] = -850.0
    data[:, 8:30, 27:41] = -850.0
    data[:, 18:20, 7:21] = 700.0
    return volume_of(data + 5 * torch.randn(data.shape, generator=torch.Generator().manual_seed(seed)), (1.0, 2.0, 2.0))


def test_places_are_where_the_whole_ball_is_tissue():
    scan = body()
    lung, soft = places(scan, LUNG, 6.0), places(scan, SOFT_TISSUE, 6.0)
    assert bool(lung.any()) and bool(soft.any()) and not bool((lung & soft).any())
    pure = {id(lung): scan.data < -800, id(soft): (scan.data > 0) & (scan.data < 80)}
    for found in (lung, soft):
        # A lesion put at the outermost place touches no voxel of another kind.
        for index in (0, -1):
            z, y, x = torch.nonzero(found)[index].tolist()
            shares, box = profile(Lesion((z, y, x), 6.0, 1.0), scan.spacing, scan.shape)
            assert bool((pure[id(found)][box] | (shares == 0)).all())
    # Air outside of the body has the HU of no lung, but emphysema may: the outer air is left out whatever its HU.
    air = volume_of(torch.where(scan.data < -900, -840.0, scan.data), scan.spacing)
    assert torch.equal(places(air, LUNG, 6.0), lung)


def test_spread_lesions_are_apart_and_the_same_for_a_seed():
    scan = body()
    lesions = spread_lesions(scan, (4.0, 6.0), each=1, seed=3)
    assert lesions == spread_lesions(scan, (4.0, 6.0), each=1, seed=3)
    assert lesions != spread_lesions(scan, (4.0, 6.0), each=1, seed=4)
    kinds = [(lesion.tissue, lesion.diameter, lesion.contrast) for lesion in lesions]
    assert len(set(kinds)) == len(kinds) == 2 * (2 + 4)
    for i, one in enumerate(lesions):
        for other in lesions[:i]:
            away = math.dist(*([c * s for c, s in zip(x.centre, scan.spacing, strict=True)] for x in (one, other)))
            assert away >= one.reach + other.reach + 6 - 1e-6
    insert(scan, lesions)


def test_where_nothing_fits_it_is_said():
    with pytest.raises(CosliceError, match=r"no place is left in lung"):
        spread_lesions(volume_of(torch.full((20, 40, 40), 40.0)), (4.0,))
    with pytest.raises(CosliceError, match=r"below 2 voxels, 4 mm"):
        spread_lesions(body(), (3.0,))
    assert resolvable((3, 5, 8), (1.0, 2.0, 2.0)) == (4.0, 5.0, 8.0)
    assert resolvable((3, 5, 8), (1.0, 3.0, 3.0)) == (6.0, 8.0)
