"""What ranks make together is what one process makes, bit for bit."""

import inspect

import numpy as np
import pytest
import torch

import small_problems
from coslice import ConeBeam, Grid, ParallelBeam, Projector, run
from coslice.classical import fdk
from coslice.errors import CosliceError
from coslice.methods import changed, find_method
from coslice.operators import joseph_numba
from coslice.parallel import check_same, complete_, share, shares
from coslice.priors.partitions import cross
from fellows import together
from laws import draw

SIZES = (3,)
GRID = Grid((5, 9, 12), (2.0, 3.0, 2.5), (1.0, 4.0, -3.0))
CONE = ConeBeam(tuple(np.linspace(0, 6, 7)), (8, 20), (2.5, 3.0), (0.5, 1.0), 120.0, 60.0)
PARALLEL = ParallelBeam(tuple(np.linspace(0, 3, 7)), (8, 20), (1.5, 2.0), (0.5, 1.0))
FINE = ConeBeam(CONE.angles, (30, 20), (0.5, 3.0), (0.5, 1.0), 120.0, 60.0)  # rows too near for AVX-512
SCANS = {"cone": CONE, "fine": FINE, "parallel": PARALLEL, "orbit": CONE.to_orbit()}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_shares_are_all_without_gap_or_overlap_and_even(size):
    for count in (0, 1, 7, 30):
        results, _ = together(size, lambda count=count: (share(count), shares(count)))
        own = [mine for mine, _ in results]
        assert all(everybody == own for _, everybody in results)
        assert [i for mine in own for i in range(mine.start, mine.stop)] == list(range(count))
        lengths = [mine.stop - mine.start for mine in own]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("rows", [None, [[4, 0], [], [1, 2, 3]]])
def test_what_is_missing_comes_from_whoever_made_it(rows):
    def work():
        memory = torch.full((5, 2), -1.0)
        mine = share(5) if rows is None else rows[rank_of_this()]
        memory[mine] = torch.arange(5.0)[mine, None]
        complete_(memory, rows)
        return memory

    results, _ = together(3, work)
    assert all(torch.equal(memory, torch.arange(5.0)[:, None].expand(5, 2)) for memory in results)


def rank_of_this():
    return [mine.start for mine in shares(3)].index(share(3).start)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("size", SIZES)
def test_a_projector_of_several_ranks_is_that_of_one(name, size):
    operator = Projector(SCANS[name], GRID)
    x, y, w = draw(operator.domain, 1), draw(operator.codomain, 2), draw(operator.codomain, 3).abs()

    def work():
        return operator.forward(x), operator.adjoint(y), operator.gram(x, w), operator.gram(x)

    results, messages = together(size, work)  # first: memory that is used again must not hold the answer
    assert messages == 6
    alone = work()
    for given in results:
        assert all(torch.equal(one, other) for one, other in zip(given, alone, strict=True))


@pytest.mark.parametrize("scan", [CONE, CONE.to_orbit()])
def test_backends_that_share_nothing_themselves_do_so_by_views_and_rows(scan):
    operator = Projector(scan, GRID, "torch")
    x, y = draw(operator.domain, 1), draw(operator.codomain, 2)
    results, _ = together(3, lambda: (operator.forward(x), operator.adjoint(y)))
    for forward, adjoint in results:
        assert torch.equal(forward, operator.forward(x))
        torch.testing.assert_close(adjoint, operator.adjoint(y), rtol=1e-5, atol=1e-4)


def test_a_rank_does_no_more_than_its_share_of_the_transpose():
    plan = joseph_numba.plan(CONE, GRID)
    whole = (plan.span[:, 2] - plan.span[:, 1] + 1).clip(0).sum()
    parts = [plan.reaching(slice(first, first + 3)) for first in (0, 3, 6)]
    steps = [(part[:, 2] - part[:, 1] + 1).clip(0).sum() for part in parts]
    assert whole <= sum(steps) < 1.5 * whole  # rays that pass from part to part count twice there: 12 planes are few


@pytest.mark.parametrize("scan", [CONE, PARALLEL])
def test_filtered_backprojection_of_several_ranks_is_that_of_one(scan):
    y = draw(scan.shape, 2)
    results, _ = together(3, lambda: fdk(y, scan, GRID))
    assert all(torch.equal(volume, fdk(y, scan, GRID)) for volume in results)


@pytest.mark.parametrize("plane", ["yx", "zx"])
def test_a_prior_of_several_ranks_is_that_of_one(plane):
    single, patches = small_problems.prior(plane), small_problems.prior(plane, 3)
    x, cotangent = draw((10, 11, 12), 1), draw((10, 11, 12), 2)
    jumping = cross(10 if plane == "yx" else 11, 3).patches

    def work():
        blended = patches.patches(x, 0.3, jumping, 1.0)
        return single(x, 0.3), single.pull_back(x, 0.3, cotangent), blended

    results = [one for size in (2, 3, 12) for one in together(size, work)[0]]  # of twelve, some have nothing to do
    alone = work()
    for given in results:
        assert all(torch.equal(one, other) for one, other in zip(given, alone, strict=True))


@pytest.mark.parametrize("name", ["dds", "wdds", "ddnm", "dps", "tpdm", "diffusionblend++", "wblend", "diffusion-mbir"])
def test_a_run_of_several_ranks_is_that_of_one(name):
    method = changed(find_method(name), small_problems.QUICK | small_problems.OWN.get(name, {}), "test")
    problem, priors = small_problems.ct(), small_problems.priors(method)
    results, messages = together(2, lambda: work(problem, method, priors))
    assert messages > 10
    alone = run(problem, method, priors, seed=3).reconstruction
    assert all(torch.equal(volume, alone) for volume in results)


def work(problem, method, priors):
    # `run` shares with the ranks that the process has joined; here it has joined none, and these stay.
    return inspect.unwrap(run)(problem, method, priors, seed=3).reconstruction


def test_ranks_that_hold_different_volumes_stop():
    def work():
        check_same(torch.ones(2, 2, 2), "the volume")
        volume = torch.ones(2, 2, 2)
        volume[0, 0, 0] += 1e-7 * share(2).start
        check_same(volume, "the volume")

    with pytest.raises(CosliceError, match="differs between the processes"):
        together(2, work)
