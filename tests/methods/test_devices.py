"""What an accelerator is given, on one that is pretended: every method gives there what it gives on the CPU."""

import copy
from dataclasses import replace

import pytest
import torch

import pretended
from coslice import run
from coslice.devices import compiled, deterministic, images_at_once, multiplies_bfloat16
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid
from coslice.methods import METHODS, find_method
from coslice.networks import NCSNpp, NCSNppConfig, UNet, UNetConfig
from coslice.operators import Projector
from coslice.plans import plan
from laws import draw
from pretended import pretended_device
from small_problems import DIFFUSION, ct, priors, quick, zsr

QUICK = [("ct", "wdds"), ("ct", "dps"), ("zsr", "ddnm"), ("ct", "fdk")]
EVERY = [
    (kind, name) for name, method in METHODS.items() for kind in ("ct", "zsr") if kind in (method.kinds or (kind,))
]
SLOW = [pytest.param(*one, marks=pytest.mark.slow) for one in EVERY if one not in QUICK]


@pytest.fixture(autouse=True)
def alone(one_thread):
    """On one thread."""


def moved(prior, device):
    return replace(prior, denoiser=copy.deepcopy(prior.denoiser).to(device))


@pytest.mark.parametrize(("kind", "name"), [*QUICK, *SLOW])
def test_a_method_gives_there_what_it_gives_on_the_cpu(kind, name):
    if name == "fbp-unet":
        pytest.skip("its network must be trained for the task")
    problem = ct() if kind == "ct" else zsr()
    method = quick(name, kind) if name in DIFFUSION else find_method(name, kind)
    given = priors(method) if name in DIFFUSION else []
    here = run(plan(problem, method, given))
    with pretended_device() as device:
        there = run(plan(problem.to(device), method, [moved(prior, device) for prior in given]))
        assert there.reconstruction.device == torch.device(device)
        away = (there.reconstruction.cpu() - here.reconstruction).abs().max()
    assert float(away) <= 2e-5  # the operations are the same, but for FDK


def test_a_network_there_and_the_projector_here():
    geometry, grid = ConeBeam((0.1, 2.0), (5, 9), (1.5, 1.4), source_axis=90.0, axis_detector=45.0), Grid((4, 6, 6))
    projector = Projector(geometry, grid)
    x, y = draw(grid.shape), draw(geometry.shape)
    expected = projector.forward(x), projector.adjoint(y), projector.normal(x)
    with pretended_device() as device:
        far = x.to(device), y.to(device)
        given = projector.forward(far[0]), projector.adjoint(far[1])
        pretended.crossings.clear()
        normal = projector.normal(far[0])
        assert len(pretended.crossings) == 2  # a volume there and back, and no projections
        for one, other in zip((*given, normal), expected, strict=True):
            assert one.device == torch.device(device) and torch.equal(one.cpu(), other)
        # In the kernels' order there as well: the next call has nothing to transpose.
        assert normal.permute(1, 2, 0).is_contiguous() and given[0].permute(0, 2, 1).is_contiguous()


def test_a_plan_says_once_who_works_elsewhere():
    problem, method = ct(), quick("dds", "ct")
    assert plan(problem, method, priors(method)).remarks == ()
    with pretended_device() as device:
        (remark,) = plan(problem.to(device), method, priors(method)).remarks
        assert remark.startswith("The network works on meta, but the projector on the CPU")
        assert plan(zsr().to(device), quick("dds", "zsr"), priors(method, "zx")).remarks == ()


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 16 GiB as torch.cuda describes it: gpu(capability, bytes of an image) -> the device."""

    def described(capability=(9, 0), image=2**30):
        held = {"memory": 2**28, "peak": 0}

        def answer():
            held["peak"] = max(held["peak"], held["memory"] + image)

        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: held["memory"])
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: held.update(peak=held["memory"]))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held["peak"])
        size = type("Properties", (), {"total_memory": 2**34})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: size)
        return torch.device("cuda"), answer

    return described


def test_as_many_images_as_the_memory_holds(gpu):
    assert images_at_once(*gpu(image=2**30)) == 4  # 0.4 of 16 GiB would be 6.4
    assert images_at_once(*gpu(image=2**28)) == 16
    assert images_at_once(*gpu(image=1000)) == 64
    assert images_at_once(torch.device("cpu"), lambda: None) == 1
    with pytest.raises(CosliceError, match="smaller slices"):
        images_at_once(*gpu(image=2**33))


def test_old_gpus_multiply_no_bfloat16(gpu):
    assert multiplies_bfloat16(gpu((8, 0))[0]) and not multiplies_bfloat16(gpu((7, 5))[0])


def test_a_network_that_cannot_be_compiled_runs_as_it_is(monkeypatch):
    network, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    expected = network(x)

    def no_compiler(*given):
        raise RuntimeError("no compiler was found\nand more")

    monkeypatch.setattr(torch, "compile", lambda function, **named: no_compiler)
    assert "(no compiler was found)" in compiled(network, lambda: network(x))
    assert torch.equal(network(x), expected)
    monkeypatch.setattr(torch, "compile", lambda function, **named: lambda given: function(given) + 1)
    assert compiled(network, lambda: network(x)) == ""
    assert torch.equal(network(x), expected + 1)


@pytest.mark.slow
@pytest.mark.parametrize("network", [UNet(UNetConfig(channels=16)), NCSNpp(NCSNppConfig(channels=16))], ids=type)
def test_a_network_is_compiled_as_one_graph(network):
    """Nothing in it asks the CPU in between, so `torch.compile` fuses all of it and a GPU never waits."""
    whole = torch.compile(network.eval(), backend="eager", fullgraph=True, dynamic=False)
    images, labels = torch.rand(2, 1, 32, 32), torch.rand(2)
    with torch.no_grad():
        assert torch.allclose(whole(images, labels), network(images, labels), atol=1e-5)


def test_sums_in_an_order_of_their_own_are_asked_for_and_left_as_they_were():
    with pretended_device() as device, deterministic(torch.device(device)):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()
