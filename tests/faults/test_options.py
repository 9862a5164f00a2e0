"""Every option of every command, and every setting of every method, given what it cannot be."""

from functools import partial
from itertools import islice

import pytest
from hostile_options import DEVICES, commands, options, settings
from small_inputs import ended, good_prior, tiny_scan

from coslice.cli.selection import chosen_method
from coslice.methods import METHODS

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    return folder, tiny_scan(folder), good_prior(folder)


def _usual(path, place):
    """Arguments of a command that ends in a refusal late, so that what is accepted costs nothing."""
    _, scan, prior = place
    nowhere = "--prior", "nowhere"
    return {
        ("demo",): ("--device", "nonsense"),
        ("reconstruct",): (scan, "--method", "dds", "--out", "out", "--views", "4", *nowhere),
        ("inspect",): (scan,),
        ("evaluate",): (scan, "nowhere.nii.gz"),
        ("methods",): ("dds",),
        ("train",): ("nowhere", "--out", "out"),
        ("benchmark",): ("nowhere.yaml", "--out", "out"),
        ("bench",): ("--quick", "--no-parts", "--whole", "--scan", "nowhere.nii.gz"),
        ("priors", "show"): (prior,),
        ("priors", "import"): (prior, "--out", "new.safetensors"),
    }.get(path, ("nowhere",))


def test_options_of_all_commands(trials, place):
    folder = place[0]
    for path, command in commands():
        usual = [str(one) for one in _usual(path, place)]
        for word, values in options(command):
            words = list(usual)
            if word in words:
                del words[words.index(word) : words.index(word) + 2]
            for value in islice(values, len(word) % 36, None, 36):
                trials.tried(*path, *words, word, value, folder=folder).sane()


def test_settings_of_all_methods(trials, place):
    folder, scan, _ = place
    for method, path, value in settings():
        kind = (METHODS[method].kinds or ("ct",))[0]
        ended(partial(chosen_method, method, kind, settings=(f"{path}={value}",)))
    for method, path, value in islice(settings(), 0, None, 150):
        words = ("--method", method, "--prior", "nowhere", "--out", "out", "--set", f"{path}={value}")
        trials.tried("reconstruct", scan, *words, folder=folder).sane()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--spacing", "1e-110"), "spacing: 1e-110 was given"),
        (("--spacing", "1e308"), "spacing: 1e+308 was given"),
        (("--size", "1000000000"), "size: 1e+09 was given"),
        (("--pad", "99999"), "voxels would come of this scan"),
        (("--views", "1000000000"), "views 1e+09 was given"),
        (("--views", "1000000", "--size", "512"), "are available"),
        (("--steps", "1000000000"), "at most 100,000"),
        (("--samples", "1000000000"), "at most 10,000"),
        (("--measurement-noise", "1e308"), "standard deviation of 1e+308"),
        (("--set", "schedule.sigma_max=1e308"), "0 or 1e-12 to 1e+12 is possible"),
        (("--seed", str(2**64)), "less than 2^63"),
        (("--factor", "1e-9", "--task", "zsr"), "whole numbers"),
        (("--out", ""), "nothing was given"),
        (("--out=",), "nothing was given"),
        (("--slices", "5:3"), "5"),
        (("--angle", "1e9", "--task", "lact"), "angle 1e+09 degrees was given"),
    ],
)
def test_wishes_that_no_machine_fulfils(trials, place, words, said):
    folder, scan, prior = place
    usual = ("--out", "out", "--prior", prior, "--method", "dds")
    done = trials.tried("reconstruct", scan, *usual, *words, folder=folder)
    assert said in done.refused(folder / "out").errors


def test_devices_that_are_none(trials, place):
    folder, scan, prior = place
    for device in DEVICES:
        done = trials.tried(
            "reconstruct", scan, "--prior", prior, "--method", "dds", "--out", "out", "--device", device, folder=folder
        )
        done.refused(folder / "out")
