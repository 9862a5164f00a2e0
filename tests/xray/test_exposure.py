"""A simulated exposure, against closed forms and against the projector of the reconstruction."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, sparse_view
from coslice.operators import Projector
from coslice.volume import Volume
from coslice.xray import Ellipsoid, SingleEnergy, TubeSpectrum, XrayScanner, simulate_counts
from coslice.xray.phantoms import FineVoxels, material_densities
from coslice.xray.spectra import DENSITIES, HU_ENERGY, mass_attenuation

IDEAL = XrayScanner(oversample=1, rays=1, dark=0.0, frames=1)
PARALLEL = ParallelBeam(sparse_view(3, math.pi), (5, 9), (2.0, 2.0))
CONE = ConeBeam(sparse_view(4), (6, 11), (3.0, 3.0), source_axis=150.0, axis_detector=100.0)
FAN = FanBeam(sparse_view(4), (6, 11), (3.0, 3.0), source_axis=150.0, axis_detector=100.0)
# Radii far beyond the detector along z: a cylinder, but for a length that is the same for all rows.
CYLINDER = Ellipsoid((0, 0, 0), (1e6, 8.0, 8.0))


def lines(counts, photons=1e5):
    return -np.log(np.asarray(counts, float) / photons)


def volume(shape=(4, 10, 10), spacing=2.0, seed=0):
    hu = torch.randint(-900, 1400, shape, generator=torch.Generator().manual_seed(seed)).float()
    return Volume(hu, np.diag([spacing, spacing, spacing, 1.0]))


@pytest.mark.parametrize("geometry", [PARALLEL, FAN, CONE, CONE.to_orbit()], ids=["parallel", "fan", "cone", "orbit"])
@pytest.mark.parametrize("oversample", [1, 3])
def test_one_energy_one_ray_and_no_noise_is_the_projector_of_the_fine_grid(geometry, oversample):
    scan = volume()
    scanner = replace(IDEAL, oversample=oversample)
    given = simulate_counts(scan, geometry, scanner, noise=False)
    fine = FineVoxels(scan, None, oversample)
    attenuation = given.water * torch.from_numpy(np.maximum(1 + fine.hu / 1000, 0))
    expected = Projector(geometry, fine.grid).forward(attenuation).numpy()
    assert fine.grid.size == pytest.approx(scan.grid().size)
    assert expected.max() > 0.2
    assert np.abs(lines(given.counts) - expected).max() < 1e-4


def test_the_grid_says_where_the_scan_is():
    scan, away = volume(), Grid((4, 10, 10), (2.0, 2.0, 2.0), (1.0, -2.0, 3.0))
    given = simulate_counts(scan, CONE, IDEAL, noise=False, grid=away)
    attenuation = given.water * (1 + scan.data / 1000)
    assert np.abs(lines(given.counts) - Projector(CONE, away).forward(attenuation).numpy()).max() < 1e-4


@pytest.mark.parametrize("geometry", [PARALLEL, FAN, CONE, CONE.to_orbit()], ids=["parallel", "fan", "cone", "orbit"])
def test_fine_voxels_of_an_ellipsoid_come_to_its_closed_form(geometry):
    body = Ellipsoid((1.0, -2.0, 3.0), (5.0, 9.0, 6.0), 1.1, turn=0.5)
    errors = []
    for n in (12, 36):
        grid = Grid((n, n, n), (24 / n, 24 / n, 24 / n))
        z, y, x = np.meshgrid(*(grid.axis(a) for a in "zyx"), indexing="ij")
        c, s = math.cos(0.5), math.sin(0.5)
        along, across = c * (x - 3) + s * (y + 2), -s * (x - 3) + c * (y + 2)
        inside = ((z - 1) / 5) ** 2 + (across / 9) ** 2 + (along / 6) ** 2 < 1
        scan = Volume(torch.from_numpy(np.where(inside, 100.0, -1000.0)), np.diag([*[24 / n] * 3, 1.0]))
        voxels = lines(simulate_counts(scan, geometry, IDEAL, noise=False).counts)
        exact = lines(simulate_counts([body], geometry, IDEAL, noise=False).counts)
        errors.append(np.linalg.norm(voxels - exact) / np.linalg.norm(exact))
    assert errors[1] < 0.09 and errors[1] < errors[0] / 2


def test_a_tube_hardens_in_water_by_its_closed_form():
    spectrum = TubeSpectrum(peak=120, filter=2.0)
    given = simulate_counts([CYLINDER], PARALLEL, replace(IDEAL, spectrum=spectrum), noise=False)
    energies, shares = spectrum.lines()
    assert shares.sum() == pytest.approx(1)
    for column, u in enumerate(PARALLEL.u()):
        length = 2 * math.sqrt(max(64 - u**2, 0))
        expected = -math.log(shares @ np.exp(-mass_attenuation("water", energies) * length / 10))
        assert lines(given.counts)[:, :, column] == pytest.approx(expected, abs=1e-5)
    thick = lines(given.counts).max()
    assert thick < 0.97 * given.water * 16  # less than in proportion to the first mm
    thin = -math.log(shares @ np.exp(-mass_attenuation("water", energies) * 1e-4))
    assert thin / 1e-3 == pytest.approx(given.water, rel=1e-3)


def test_of_one_energy_nothing_hardens():
    given = simulate_counts([CYLINDER], PARALLEL, replace(IDEAL, spectrum=SingleEnergy(60)), noise=False)
    assert lines(given.counts)[0, 0, 4] == pytest.approx(0.02059 * 16, rel=1e-4)  # NIST: 0.2059 cm^2/g


@pytest.mark.parametrize("hu", [-1000, -500, 0, 60, 100, 700, 1500, 3000, 20_000])
def test_materials_attenuate_as_their_hu_say_at_the_energy_of_hu(hu):
    parts = material_densities(np.full((1, 1, 1), hu, np.float32))
    total = sum(float(density[0, 0, 0] * mass_attenuation(name, HU_ENERGY)) for name, density in parts.items())
    assert total == pytest.approx(float(mass_attenuation("water", HU_ENERGY)) * (1 + hu / 1000), rel=1e-5, abs=1e-9)


def test_what_there_is_of_which_material():
    assert set(material_densities(np.array([-1500.0, 50.0]))) == {"water"}
    assert material_densities(np.array([-1500.0]))["water"] == 0
    assert set(material_densities(np.array([800.0]))) == {"water", "bone"}
    assert set(material_densities(np.array([1500.0]))) == {"bone"}
    assert set(material_densities(np.array([9000.0]))) == {"iron"}


def test_bone_hardens_more_than_water_of_the_same_attenuation():
    water = float(mass_attenuation("water", HU_ENERGY))
    bone = float(mass_attenuation("bone", HU_ENERGY)) * DENSITIES["bone"]
    tube = replace(IDEAL, spectrum=TubeSpectrum())
    seen = [
        lines(simulate_counts([Ellipsoid((0, 0, 0), (1e6, r, r), density, name)], PARALLEL, tube, noise=False).counts)
        for name, r, density in (("water", 8.0, bone / water), ("bone", 8.0, DENSITIES["bone"]))
    ]
    single = lines(
        simulate_counts(
            [Ellipsoid((0, 0, 0), (1e6, 8, 8), DENSITIES["bone"], "bone")], PARALLEL, IDEAL, noise=False
        ).counts
    )
    assert single.max() == pytest.approx(bone / 10 * 16, rel=1e-4)
    assert seen[1].max() > 1.02 * seen[0].max()  # a tube's mean energy lies below that of HU


def test_a_pixel_is_the_mean_of_intensities_and_not_of_lengths():
    edge = ParallelBeam((0.0,), (1, 1), (2.0, 2.0), offset=(0.0, 16.0))
    wide = Ellipsoid((0, 0, 0), (1e6, 16.0, 16.0), 10.0)
    given = simulate_counts([wide], edge, replace(IDEAL, rays=8), noise=False)
    u = 16 + (np.arange(8) - 3.5) / 4
    chords = 2 * np.sqrt(np.maximum(256 - u**2, 0))
    mu = given.water * 10
    assert lines(given.counts).item() == pytest.approx(-math.log(np.exp(-mu * chords).mean()), rel=1e-5)
    assert lines(given.counts).item() < 0.9 * mu * chords.mean()


@pytest.mark.parametrize("geometry", [PARALLEL, FAN, CONE, CONE.to_orbit()], ids=["parallel", "fan", "cone", "orbit"])
def test_rays_of_a_pixel_lie_within_it_whatever_the_geometry(geometry):
    """A small pixel's rays are all alike; so the mean over its parts is the ray through its middle."""
    soft = Ellipsoid((0, 0, 0), (40.0, 40.0, 40.0), 0.1)
    one, nine = (lines(simulate_counts([soft], geometry, replace(IDEAL, rays=n), noise=False).counts) for n in (1, 3))
    assert np.abs(one - nine).max() < 2e-3 < one.max() / 20


def test_a_focal_spot_blurs_an_edge_by_its_shadow():
    """Of a source w wide, an edge at the axis throws a half-shadow of w (m - 1), m the magnification."""
    fine = ConeBeam((0.0,), (1, 401), (0.05, 0.05), source_axis=100.0, axis_detector=100.0)
    # so large that its rim is a straight edge, so dense that nothing passes
    block = Ellipsoid((0.0, -1e3, 0.0), (1e6, 1e3, 0.01), 1e9, "iron")
    sharp, soft = (
        simulate_counts([block], fine, replace(IDEAL, focal_spot=w), noise=False).counts[0, 0] / 1e5 for w in (0, 2.0)
    )
    u = fine.u()
    assert np.abs(sharp[np.abs(u) > 0.5] - (u[np.abs(u) > 0.5] > 0)).max() < 1e-4
    # the derivative's variance is that of a uniform shadow of 2 mm
    weight = np.abs(np.diff(soft))
    middle = (u[1:] + u[:-1]) / 2
    mean = (weight * middle).sum() / weight.sum()
    assert (weight * (middle - mean) ** 2).sum() / weight.sum() == pytest.approx(2.0**2 / 12, rel=0.05)


@pytest.mark.parametrize("geometry", [PARALLEL, FAN], ids=["parallel", "fan"])
def test_a_focal_spot_needs_rays_from_a_point(geometry):
    with pytest.raises(CosliceError, match="focal spot of 1 mm"):
        simulate_counts([CYLINDER], geometry, replace(IDEAL, focal_spot=1.0))


def test_counts_are_poisson_and_read_out_with_their_own_noise():
    open_beam = ParallelBeam(sparse_view(40, math.pi), (20, 25), (1.0, 1.0), offset=(0.0, 100.0))
    for photons, electronic in ((50.0, 0.0), (400.0, 30.0)):
        scanner = replace(IDEAL, photons=photons, electronic=electronic, dark=200.0)
        counts = simulate_counts([CYLINDER], open_beam, scanner, 3).counts
        assert counts.dtype == np.int32
        assert counts.mean() == pytest.approx(photons + 200, rel=0.01)
        assert counts.var() == pytest.approx(photons + electronic**2, rel=0.03)
        between = np.corrcoef(counts[:, :, 1:].ravel(), counts[:, :, :-1].ravel())[0, 1]
        assert abs(between) < 0.03


def test_the_same_seed_gives_the_same_counts_and_a_view_knows_nothing_of_the_others():
    scanner = replace(IDEAL, gain=0.05, dead=0.1, rings=0.1, blur=1.0)
    first, again, other = (simulate_counts([CYLINDER], PARALLEL, scanner, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.counts, again.counts) and np.array_equal(first.flats, again.flats)
    assert not np.array_equal(first.counts, other.counts)
    fewer = simulate_counts([CYLINDER], replace(PARALLEL, angles=PARALLEL.angles[:2]), scanner, 1)
    assert np.array_equal(fewer.counts, first.counts[:2])
    assert not np.array_equal(
        first.flats[0], simulate_counts([CYLINDER], PARALLEL, replace(scanner, frames=2), 1).flats[1]
    )


@pytest.mark.parametrize("noise", [True, False])
def test_blur_keeps_the_sum_and_spreads_a_point_by_its_width(noise):
    needle = Ellipsoid((0, 0, 0), (1e6, 1.0, 1.0), 1e4)
    wide = ParallelBeam((0.0,), (21, 61), (1.0, 1.0))
    scanner = replace(IDEAL, electronic=0.0)
    sharp, soft = (
        simulate_counts([needle], wide, replace(scanner, blur=w), noise=noise).counts.astype(float) for w in (0.0, 4.0)
    )
    assert soft.sum() == pytest.approx(sharp.sum(), rel=1e-4)
    assert soft[0, :, 30].mean() > 1000 > sharp[0, :, 30].max()
    if not noise:
        missing = 1e5 - soft[0, 10]
        u = wide.u()
        variance = (missing * u**2).sum() / missing.sum() - ((1e5 - sharp[0, 10]) * u**2).sum() / (
            1e5 - sharp[0, 10]
        ).sum()
        assert 2 * math.sqrt(2 * math.log(2) * variance) == pytest.approx(4.0, rel=0.02)


def test_blurred_noise_is_alike_in_neighbours():
    open_beam = ParallelBeam(sparse_view(20, math.pi), (20, 25), (1.0, 1.0), offset=(0.0, 100.0))
    counts = simulate_counts([CYLINDER], open_beam, replace(IDEAL, blur=2.0, photons=1000)).counts
    assert np.corrcoef(counts[:, :, 1:].ravel(), counts[:, :, :-1].ravel())[0, 1] > 0.5
    assert counts.var() < 300


def test_open_beam_frames_correct_gains_and_not_what_causes_rings():
    quiet = replace(IDEAL, gain=0.1)
    for scanner, corrected in ((quiet, True), (replace(quiet, rings=0.3), False)):
        given = simulate_counts([CYLINDER], PARALLEL, scanner, noise=False)
        assert given.flats.std() > 0.05 * given.flats.mean()
        ideal = simulate_counts([CYLINDER], PARALLEL, IDEAL, noise=False)
        ratio = (given.counts / given.flats[0]) / (ideal.counts / ideal.flats[0])
        assert (np.abs(ratio - 1).max() < 1e-5) == corrected
        assert np.ptp(ratio, axis=0).max() < 1e-5  # the same in every view: a ring
        assert 0 < (np.abs(ratio[0] - 1) > 1e-5).mean() < 0.6 or corrected


def test_dead_pixels_read_the_dark_level_and_only_they():
    given = simulate_counts([CYLINDER], PARALLEL, replace(IDEAL, dead=0.2, dark=300.0, frames=3), noise=False)
    assert 0 < given.dead.sum() < 20
    assert (given.counts[:, given.dead] == 300).all() and (given.flats[:, given.dead] == 300).all()
    assert (given.counts[:, ~given.dead] > 300).all()
    assert (given.darks == 300).all() and given.darks.shape == given.flats.shape == (3, 5, 9)


@pytest.mark.parametrize("drift", [0.1, -0.2])
def test_drift_changes_the_beam_evenly_from_what_the_frames_say(drift):
    aside = replace(PARALLEL, offset=(0.0, 100.0))
    given = simulate_counts([CYLINDER], aside, replace(IDEAL, drift=drift), noise=False)
    means = given.counts.mean((1, 2)) / given.flats.mean()
    assert means == pytest.approx([1, 1 - drift / 2, 1 - drift])


@pytest.mark.parametrize("geometry", [PARALLEL, FAN, CONE, CONE.to_orbit()], ids=["parallel", "fan", "cone", "orbit"])
def test_misalignment_is_in_the_true_geometry_and_in_the_counts(geometry):
    body = [Ellipsoid((0.0, 3.0, 2.0), (9.0, 4.0, 6.0))]
    scanner = replace(IDEAL, jitter=2.0, axis_offset=1.5)
    given = simulate_counts(body, geometry, scanner, 5, noise=False)
    assert given.geometry is geometry and given.true_geometry != geometry
    straight = simulate_counts(body, given.true_geometry, IDEAL, noise=False)
    assert np.array_equal(given.counts, straight.counts)
    assert not np.array_equal(given.counts, simulate_counts(body, geometry, IDEAL, noise=False).counts)


def test_an_orbit_is_misaligned_as_the_circle_that_it_is():
    scanner = replace(IDEAL, jitter=2.0, axis_offset=1.5)
    body = [Ellipsoid((0.0, 3.0, 2.0), (9.0, 4.0, 6.0))]
    circle, orbit = (simulate_counts(body, g, scanner, 5, noise=False) for g in (CONE, CONE.to_orbit()))
    assert np.allclose(circle.counts, orbit.counts, rtol=1e-5)
    assert isinstance(circle.true_geometry, ConeBeam)
    shift = np.array(circle.true_geometry.angles) - np.array(CONE.angles)
    assert 0.2 < np.degrees(np.abs(shift)).mean() < 6
    assert circle.true_geometry.offset == (0.0, 1.5)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda: simulate_counts(volume(), PARALLEL, IDEAL, grid=Grid((4, 10, 11))), "same voxels"),
        (lambda: simulate_counts([CYLINDER], PARALLEL, IDEAL, grid=Grid((4, 10, 11))), "without a scan"),
        (lambda: Ellipsoid((0, 0, 0), (1, 0, 1)), "radii"),
        (lambda: Ellipsoid((0, 0, 0), (1, 1, 1), math.nan), "finite"),
        (lambda: Ellipsoid((0, 0, 0), (1, 1, 1), 1.0, "gold"), '"gold"'),
        (lambda: mass_attenuation("water", 5.0), "5 to 5 keV"),
        (lambda: mass_attenuation("gold", 50.0), '"gold"'),
        (lambda: XrayScanner(photons=0), "photons 0"),
        (lambda: XrayScanner(dead=0.9), "dead 0.9"),
        (lambda: TubeSpectrum(peak=500), "peak 500"),
    ],
)
def test_refused_in_a_sentence(fault, said):
    with pytest.raises(CosliceError, match=said):
        fault()
