"""Which methods get another data step where the noise is known."""

from dataclasses import replace

import pytest
import torch

from coslice.methods import Method, find_method
from coslice.methods.data_steps import ConjugateGradients, TrustedPrediction, WeightedGradients
from coslice.methods.noisy_data import suited_to_noise
from coslice.plans import plan
from small_problems import ct, zsr


def noisy():
    problem = ct()
    return replace(problem, noise=1.0, weights=torch.ones_like(problem.measurement))


@pytest.mark.parametrize("name", ["dds", "wdds", "wblend"])
def test_early_stopping_gives_way_to_a_step_that_knows_the_noise_of_every_ray(name):
    method = find_method(name)
    suited = suited_to_noise(method, noisy())
    assert isinstance(suited, Method) and isinstance(method, Method)
    assert isinstance(suited.data, TrustedPrediction)
    assert suited == replace(method, data=suited.data)
    assert plan(noisy(), name).method == suited and plan(noisy(), method).method is method


@pytest.mark.parametrize("name", ["wdds", "wblend"])
def test_ours_weighs_the_prediction_in_its_own_metric_where_one_number_says_the_noise(name):
    method, problem = find_method(name), replace(ct(), noise=1.0)
    suited = suited_to_noise(method, problem)
    assert isinstance(suited, Method) and isinstance(method, Method)
    assert isinstance(suited.data, WeightedGradients) and isinstance(method.data, WeightedGradients)
    assert suited == replace(method, data=replace(method.data, trust=7.0))
    assert plan(problem, name).method == suited and plan(problem, method).method is method
    assert suited_to_noise(method, ct()) is method
    chosen = replace(method, data=replace(method.data, trust=1.0))
    assert suited_to_noise(chosen, problem) is chosen


@pytest.mark.parametrize("name", ["ddnm", "dds-tv", "diffpir", "dps", "sirt", "fdk"])
def test_other_methods_keep_their_data_step(name):
    method = find_method(name)
    assert suited_to_noise(method, noisy()) is method


def test_where_the_noise_is_not_known_ray_by_ray_nothing_changes():
    dds = find_method("dds")
    assert suited_to_noise(dds, ct()) is dds
    assert suited_to_noise(dds, replace(ct(), noise=1.0)) is dds
    assert suited_to_noise(dds, replace(noisy(), noise=0.0)) is dds
    assert suited_to_noise(find_method("dds", "zsr"), zsr()) == find_method("dds", "zsr")
    chosen = replace(dds, data=ConjugateGradients(gamma=3.0))
    assert suited_to_noise(chosen, noisy()) is chosen


def test_rounds_at_the_end_are_kept():
    dds = replace(find_method("dds"), data=ConjugateGradients(rounds=7))
    suited = suited_to_noise(dds, noisy())
    assert isinstance(suited, Method) and isinstance(suited.data, TrustedPrediction) and suited.data.rounds == 7
