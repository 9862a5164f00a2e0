"""What the project is for, on a real scan with the embedded prior: ISCS makes the slices agree, at no cost.

The default test takes a small slab and ten steps; the slow one is the demonstration itself.
"""

import pytest
import torch

from coslice import run
from coslice.axes import PLANES
from coslice.data import embedded_scan
from coslice.methods import changed, find_method
from coslice.metrics import evaluate
from coslice.noise import Identical, Independent, Key, Slerp
from coslice.preparation import Preparation
from coslice.priors import load_prior
from coslice.problems import simulate


def compared(slices, steps, size=None):
    prior = load_prior("ct")
    study = simulate(embedded_scan(), window=prior.window_for, preparation=Preparation(slices=slices, size=size))
    assert study.unit is not None
    few = {"schedule": {"steps": steps}}
    methods = {noise: changed(find_method("dds"), few | {"noise": noise}) for noise in ("independent", "iscs")}
    methods["tv"] = changed(find_method("dds-tv"), few | {"noise": "independent"})
    results = {name: run(study.problem, method, prior) for name, method in methods.items()}
    metrics = {name: evaluate(result.reconstruction, study.unit, lpips=False) for name, result in results.items()}
    metrics["fdk"] = evaluate(results["iscs"].initial, study.unit, lpips=False)
    return metrics


def holds(metrics):
    for plane in PLANES:
        for name in ("psnr", "ssim"):
            assert metrics["iscs"][plane][name] > metrics["independent"][plane][name] > metrics["fdk"][plane][name]
    assert metrics["independent"]["sdiff_delta"] > 0  # independent noise flickers
    assert metrics["tv"]["sdiff_delta"] < 0  # total variation smooths
    assert metrics["iscs"]["sdiff_gap"] < metrics["tv"]["sdiff_gap"]
    assert 3 * metrics["iscs"]["sdiff_gap"] < metrics["independent"]["sdiff_gap"]


def test_iscs_beats_independent_noise_on_a_slab_of_a_real_scan():
    holds(compared((26, 34), steps=10, size=64))


@pytest.mark.slow
def test_iscs_beats_independent_noise_on_the_whole_embedded_scan():
    holds(compared((0, 64), steps=30))


def test_iscs_draws_two_planes_whatever_the_number_of_slices(monkeypatch):
    """Its cost against independent noise is that of two planes against all of them."""
    import coslice.noise

    drawn = {}
    for strategy in (Independent(), Identical(), Slerp()):
        count = 0

        def counting(key, step, indices, size, device, draw=coslice.noise.planes_of_deviates):
            nonlocal count
            count += len(indices)
            return draw(key, step, indices, size, device)

        with monkeypatch.context() as patch:
            patch.setattr(coslice.noise, "planes_of_deviates", counting)
            strategy.add_(torch.zeros(40, 8, 8), 1.0, Key(0))
        drawn[strategy.kind] = count
    assert drawn == {"independent": 40, "identical": 1, "iscs": 2}
