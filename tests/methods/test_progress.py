"""What is heard of a run within its steps, and what is said of it when it is long."""

import threading
import time

import pytest
import torch

from coslice import run
from coslice.cli.display import Watch
from coslice.cli.forecast import Forecast
from coslice.threads import counting, spread
from small_problems import prior, quick, zsr

CPU = torch.device("cpu")


def test_shared_calls_are_counted_by_all_who_ask_and_by_nobody_else():
    outer, inner = [], []

    def elsewhere():
        spread(CPU, abs, range(3))

    with counting(lambda *numbers: outer.append(numbers)):
        spread(CPU, abs, range(2))
        with counting(lambda *numbers: inner.append(numbers)):
            spread(CPU, abs, range(3))
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    spread(CPU, abs, range(4))
    three = [(1, 3), (2, 3), (3, 3)]
    assert outer == [(1, 2), (2, 2), *three] and inner == three


def test_images_of_a_step_are_heard_between_steps_and_change_nothing(monkeypatch):
    heard = []
    quiet = run(zsr(), quick("dds"), prior("yx"), progress=lambda *words: heard.append(words))
    steps = [words for words in heard if words[0] == "sampling"]
    assert steps == [("sampling", done, 3) for done in range(4)]
    assert not any(phase == "denoising" for phase, _, _ in heard)  # it takes no second
    heard.clear()
    monkeypatch.setattr("coslice.runs._OFTEN", 0.0)
    loud = run(zsr(), quick("dds"), prior("yx"), progress=lambda *words: heard.append(words))
    assert torch.equal(quiet.reconstruction, loud.reconstruction)
    images = [("denoising", done, 10) for done in range(1, 11)]
    wanted = [steps[0], *images, steps[1], *images, steps[2], *images, steps[3]]
    assert [words for words in heard if words[0] in ("sampling", "denoising")] == wanted


def test_a_bar_moves_within_a_step_and_never_back():
    with Watch() as watch, watch.task("DDS") as progress:
        bar = watch._bars.tasks[0]
        found = []
        for words in (
            ("denoising", 1, 4),  # of something else: there are no steps yet
            ("sampling", 0, 30),
            ("denoising", 1, 4),
            ("denoising", 3, 4),
            ("denoising", 1, 4),  # a step that asks a second time
            ("sampling", 1, 30),
            ("denoising", 2, 4),
        ):
            progress(*words)
            found.append((bar.completed, bar.total))
    assert found[1:] == [(0, 30), (0.25, 30), (0.75, 30), (0.75, 30), (1, 30), (1.5, 30)]


def told(seconds_each, images=300, steps=30, done=0, threads=1):
    """What is said of a run whose images take so long, and after how many of them."""
    clock, said, image = [0.0], [], 0
    forecast = Forecast("DDS", lambda *words: None, said.append, lambda: clock[0])
    forecast.heard("sampling", done, steps)
    clock[0] += 50  # before the first image is there, code is compiled
    for image in range(threads, images + 1, threads):
        clock[0] += seconds_each * threads
        forecast.heard("denoising", image, images)
        if said:
            break
    after = image
    forecast.heard("sampling", done + 1, steps)
    for image in range(1, images + 1):
        forecast.heard("denoising", image, images)
    return said, after


def test_a_long_run_says_once_what_its_images_will_take():
    said, after = told(4.0)
    assert after == 31 and len(said) == 1  # a tenth of them, behind the first
    assert "takes 4 s for an image" in said[0] and "300 of them in 30 steps are 10 hours at least" in said[0]
    assert "are 8.3 hours" in told(4.0, done=5)[0][0]  # of the 25 steps that are left
    assert "are 10 hours" in told(4.0, threads=4)[0][0]
    assert "are 40 minutes" in told(8.0, images=10)[0][0]
    for short in (told(0.05), told(8.0, images=4)):  # nine minutes and a half; too few images to tell
        assert short[0] == []


@pytest.mark.parametrize("phase", ["metrics", "initial"])
def test_everything_heard_is_passed_on(phase):
    heard = []
    forecast = Forecast("DDS", lambda *words: heard.append(words), heard.append, time.monotonic)
    forecast.heard(phase, 1, 2)
    assert heard == [(phase, 1, 2)]
