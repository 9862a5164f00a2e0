"""What is at hand in Python as a prior: a function, a denoiser of deepinv, a network with its scheduler.

    prior_from(function, sigma=(0.01, 0.3), window="ct")     any (x, sigma) -> denoised
    from_deepinv(denoiser, sigma=(0.01, 0.2), window="mr")   deepinv's DRUNet, DnCNN, ...
    from_diffusers(unet, scheduler, window="ct")             a UNet2DModel, or a pipeline with one
    from_monai(network, scheduler, window="ct", input_range=(0, 1))

They give what `coslice.load_prior` gives: `coslice.run(problem, method, prior)` takes it. Noise levels are those of the
unit window everywhere, whatever range the function sees.

**Whose prior a run had** is part of what it is (`coslice.identities`): a module is told by its weights and by the file
that defines its class, a plain function by its name, its file and what its arguments are when left out. A closure, a
partial application, an object or a function of a notebook cannot be told from others, and neither can what a function
reads elsewhere. Then a run that was stopped is not gone on with by another process, unless `identity` says what it is.
"""

from __future__ import annotations

import hashlib
import inspect
import secrets
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from coslice.axes import check_plane, stacked_along
from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.priors.denoisers import CENTRED, RAW, InputRange, VPDenoiser, check_input_range
from coslice.priors.foreign_networks import (
    DiffusersUNet,
    DiffusersUNetConfig,
    ForeignUNet,
    MonaiUNet,
    check_ready,
    checked_answer,
)
from coslice.priors.slices import SlicePrior
from coslice.priors.step_tables import TrainedSteps, steps_of_scheduler
from coslice.window import check_window

__all__ = ["Denoise", "FunctionDenoiser", "from_deepinv", "from_diffusers", "from_monai", "prior_from"]

Denoise = Callable[[Tensor, float], Tensor]
"""(x (n, c, h, w), sigma) -> denoised (n, c, h, w)."""

_LARGEST = 1e6


class FunctionDenoiser(nn.Module):
    """D(x, sigma) in the unit window by a function that sees images in a range of its own.

    Args:
        function: (v (b, c, h, w) float32, sigma of v) -> the same shape; a module is kept as a part of this one.
        input_range: what it sees for 0 and 1 of the unit window.
        identity: words that stand for it; None takes what is known of it.
        one_at_a_time: whether it may be called by one thread at a time only.

    Raises:
        CosliceError: no function, or a range that is none.
    """

    own_layers = False

    def __init__(
        self,
        function: Denoise,
        input_range: InputRange = RAW,
        identity: str | None = None,
        one_at_a_time: bool = False,
    ):
        super().__init__()
        if not callable(function):
            raise CosliceError(f"prior: a {type(function).__name__} was given, but a function (x, sigma) is needed.")
        check_input_range(input_range)
        self.function = function
        self.input_range: InputRange = (float(input_range[0]), float(input_range[1]))
        self._identity = _known_of(function) if identity is None else identity
        self._turn = threading.Lock() if one_at_a_time else nullcontext()

    @property
    def network(self) -> Any:
        """The function itself."""
        return self.function

    @property
    def beside_weights(self) -> list[object]:
        """What tells it from others with the same weights."""
        return [self._identity, list(self.input_range)]

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise x (b, c, h, w), each image at its own sigma (b,): float32.

        Raises:
            CosliceError: the function answers with something else than images of the same shape, or gives no gradients
                where they are needed.
        """
        low, width = self.input_range[0], self.input_range[1] - self.input_range[0]
        v = low + width * x.to(torch.float32)
        levels = sigma.expand(len(x)).tolist()
        parts = [v] if len(set(levels)) == 1 else v.split(1)
        with self._turn:  # until the answers are copied: a function may give the same memory again
            answers = [
                (self._asked(part, width * level) - low) / width for part, level in zip(parts, levels, strict=False)
            ]
        answer = answers[0] if len(answers) == 1 else torch.cat(answers)
        if torch.is_grad_enabled() and x.requires_grad and not answer.requires_grad:
            raise CosliceError(
                f"prior: {type(self.function).__name__} gives no gradients, but the method asks for them; choose one "
                "that does not, such as dds."
            )
        return answer

    def _asked(self, v: Tensor, sigma: float) -> Tensor:
        answer = checked_answer(self.function, v, self.function(v, sigma))
        if answer.is_complex():
            raise CosliceError("prior: its answer is complex, but real numbers are needed; give the real part.")
        return answer.to(torch.float32)


def prior_from(
    denoiser: Denoise,
    *,
    sigma: tuple[float, float],
    window: str,
    plane: str = "yx",
    input_range: InputRange = RAW,
    channels: int = 1,
    multiple: int = 1,
    name: str = "",
    identity: str | None = None,
    one_at_a_time: bool = False,
) -> SlicePrior:
    """Any denoiser of images as a prior.

    Args:
        denoiser: (x (n, channels, h, w) float32, sigma float) -> the image it expects behind x = x0 + sigma n, of the
            same shape. It is called by several threads at once, on a CPU with one image each.
        sigma: smallest and largest noise level that it is good for, in units of the unit window. A schedule that goes
            beyond is refused when a run is planned: `schedule.sigma_max` and `schedule.sigma_min` are to be set.
        window: the intensities that are 0 and 1: "ct", "mr" or "LOW:HIGH".
        plane: rows and columns of the images, two of "z", "y", "x".
        input_range: what it is given for 0 and 1; the noise level that it is told grows with the width.
        channels: 1, or the k neighbouring slices of a patch.
        multiple: of which sides of images are to be multiples; others are padded by reflection.
        name: that messages use.
        identity: says which denoiser it is, where a stopped run is to be gone on with and nothing else tells; see the
            module. Change it whenever the function changes.
        one_at_a_time: whether it must not be called by two threads at once.

    Raises:
        CosliceError: what is not callable; a module in training mode; noise levels, a window, a plane or a range that
            are none.
    """
    if isinstance(denoiser, nn.Module):
        check_ready(denoiser)
    if not isinstance(sigma, tuple | list) or len(sigma) != 2:
        raise CosliceError(
            f"prior_from: sigma {shown(sigma)} was given, but two levels are needed, as in sigma=(0.01, 0.3)."
        )
    low, high = sigma
    if not 1 / _LARGEST <= low <= high <= _LARGEST:
        raise CosliceError(
            f"prior_from: sigma {low:g} to {high:g} was given, but the smallest and the largest noise level that it is "
            "good for are needed, above 0 and in this order."
        )
    for word, count in (("channels", channels), ("multiple", multiple)):
        if count < 1 or count != int(count):
            raise CosliceError(f"prior_from: {word} {shown(count)} was given, a whole number from 1 on is needed.")
    return _prior(
        FunctionDenoiser(denoiser, input_range, identity, one_at_a_time),
        (float(low), float(high)),
        _Says(plane, window, name or _called(denoiser)),
        channels,
        multiple,
    )


def from_deepinv(
    denoiser: Any,
    *,
    sigma: tuple[float, float],
    window: str,
    plane: str = "yx",
    multiple: int = 1,
    name: str = "",
    identity: str | None = None,
) -> SlicePrior:
    """A denoiser of deepinv as a prior: its `DRUNet`, `DnCNN`, `SwinIR`, ..., of one channel, or a network like them.

    deepinv's denoisers take images in [0, 1] and a noise level in the same unit, so nothing is scaled.

    Args:
        denoiser: module (x (n, 1, h, w), sigma) -> (n, 1, h, w).
        sigma, window, plane, multiple, name, identity: as of `prior_from`. A denoiser for one noise level is to be
            given that level twice, or the levels that it is trusted at.

    Raises:
        CosliceError: as `prior_from`.
    """
    if not isinstance(denoiser, nn.Module):
        raise CosliceError(
            f"from_deepinv: a {type(denoiser).__name__} was given, but a module is needed; prior_from takes functions."
        )
    told = {"plane": plane, "multiple": multiple, "name": name, "identity": identity}
    return prior_from(denoiser, sigma=sigma, window=window, **told)


def from_diffusers(
    unet: Any,
    scheduler: Any = None,
    *,
    window: str,
    plane: str = "yx",
    input_range: InputRange = CENTRED,
    name: str = "",
) -> SlicePrior:
    """A network of diffusers that is at hand as a prior: a UNet2DModel, or a module that is called as one is.

    Args:
        unet: called with (v_t (b, c, h, w), t (b,), return_dict=False), t between whole steps too; or a pipeline with
            a `unet` and a `scheduler`, and nothing else that the network sees.
        scheduler: the one it was trained with; None takes the pipeline's.
        window, plane, name: as of `prior_from`.
        input_range: what it saw for 0 and 1; diffusers' pipelines show [-1, 1].

    Raises:
        CosliceError: as `prior_from`; a network that waits for a condition or a class, or denoises codes of an
            autoencoder; a scheduler without a table of betas.
    """
    if scheduler is None:
        scheduler, unet = getattr(unet, "scheduler", None), _of_pipeline(unet)
    if scheduler is None:
        raise CosliceError(
            "from_diffusers: a network without its scheduler was given, but the steps it was trained on are needed; "
            "give the scheduler too, as in DDPMScheduler(num_train_timesteps=1000)."
        )
    known = None
    if type(unet).__name__ == "UNet2DModel":
        known = DiffusersUNetConfig.from_dict(dict(unet.config), "from_diffusers")
    elif type(unet).__name__ == "UNet2DConditionModel":
        raise CosliceError(
            "from_diffusers: a UNet2DConditionModel was given, which waits for a condition with every image, but a "
            "UNet2DModel, of images alone, is needed."
        )
    inner = _checked_module(unet, "from_diffusers")
    network = DiffusersUNet(known, inner, "" if known else _known_of(inner))
    return _stepwise(network, steps_of_scheduler(scheduler), input_range, _Says(plane, window, name or _called(unet)))


def from_monai(
    network: Any,
    scheduler: Any,
    *,
    window: str,
    input_range: InputRange,
    plane: str = "yx",
    name: str = "",
) -> SlicePrior:
    """A network of MONAI that is at hand as a prior: a two-dimensional DiffusionModelUNet, or one that is called so.

    Args:
        network: called with x=v_t (b, c, h, w) and timesteps=t (b,), t between whole steps too.
        scheduler: the one it was trained with, such as `monai.networks.schedulers.DDPMScheduler`.
        window, plane, name: as of `prior_from`.
        input_range: what it saw for 0 and 1: as its transforms had it, (0, 1) in MONAI's own examples.

    Raises:
        CosliceError: as `prior_from`; a network of volumes, or one that waits for a condition or a class; a scheduler
            without a table of betas.
    """
    inner = _checked_module(network, "from_monai")
    if getattr(network, "with_conditioning", False) or getattr(network, "num_class_embeds", None) is not None:
        raise CosliceError(
            "from_monai: a network was given that waits for a condition or a class with every image, but one of images "
            "alone is needed."
        )
    if any(isinstance(part, nn.Conv3d) for part in network.modules()):
        raise CosliceError("from_monai: a network of volumes was given, but one of two-dimensional images is needed.")
    return _stepwise(
        MonaiUNet(None, inner, _known_of(inner)),
        steps_of_scheduler(scheduler),
        input_range,
        _Says(plane, window, name or _called(network)),
    )


class _Says:
    """What the user says of a prior at hand: its images and its name.

    Raises:
        CosliceError: a plane or a window that is none.
    """

    def __init__(self, plane: str, window: str, name: str):
        check_plane(plane)
        check_window(window)
        self.plane, self.window, self.name = plane, window, name


def _stepwise(network: ForeignUNet, steps: TrainedSteps, input_range: InputRange, says: _Says) -> SlicePrior:
    inner: Any = network.inner
    channels = _channels(inner, "in_channels")
    answered = _channels(inner, "out_channels")
    denoiser = VPDenoiser(network, steps.table, answered == 2 * channels, 0, input_range, steps.prediction)
    levels = 1 if network.config is not None else len(getattr(inner, "block_out_channels", (1,)))
    return _prior(denoiser, denoiser.sigma_range, says, channels, max(network.stride, 2 ** (levels - 1)))


def _channels(network: Any, word: str) -> int:
    """What a network says of its channels, in its config or by itself; 1 where it says nothing."""
    said = getattr(getattr(network, "config", None), word, None)
    found = getattr(network, word, None) if said is None else said
    return 1 if found is None else int(found)


def _prior(
    denoiser: FunctionDenoiser | VPDenoiser, sigma_range: tuple[float, float], says: _Says, channels: int, stride: int
) -> SlicePrior:
    card = {
        "name": says.name,
        "title": f"{says.name}, at hand in Python",
        "parameters": sum(parameter.numel() for parameter in denoiser.parameters()),
        "plane": says.plane,
        "along": stacked_along(says.plane),
        "window": says.window,
        "input_range": list(denoiser.input_range),
    }
    return SlicePrior(
        denoiser=denoiser,
        stride=stride,
        sigma_range=sigma_range,
        plane=says.plane,
        window=says.window,
        channels=channels,
        name=says.name,
        card=card,
    )


def _of_pipeline(pipeline: Any) -> Any:
    """The network of a pipeline; what is none stays as it is."""
    unet = getattr(pipeline, "unet", None)
    if unet is None:
        return pipeline
    for part in ("vae", "vqvae", "movq", "text_encoder", "image_encoder"):
        if getattr(pipeline, part, None) is not None:
            raise CosliceError(
                f"from_diffusers: a {type(pipeline).__name__} with a {part} was given, but a network that sees the "
                "noisy image and nothing else is needed."
            )
    return unet


def _checked_module(network: Any, who: str) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise CosliceError(f"{who}: a {type(network).__name__} was given, but a network, a torch module, is needed.")
    check_ready(network)
    return network


def _called(denoiser: Any) -> str:
    """The name of a function, or of the class of an object."""
    return str(getattr(denoiser, "__name__", type(denoiser).__name__))


def _known_of(function: Any) -> str:
    """What tells a function from others: its name and its file, of a module those of its class.

    What has a hidden state, or no file, gets words that no other process has.
    """
    module = isinstance(function, nn.Module)
    whose = type(function) if module else function
    values = "" if module else _values_of(function)
    if values is not None:
        try:
            content = Path(inspect.getfile(whose)).read_bytes()
        except (OSError, TypeError):
            content = None
        if content is not None:
            return f"{whose.__qualname__} {hashlib.sha256(content).hexdigest()[:16]}{values}"
    return f"not known {secrets.token_hex(16)}"


def _values_of(function: Any) -> str | None:
    """What a plain function takes where nothing is given, in words; None of what has a hidden state."""
    if not isinstance(function, FunctionType) or function.__closure__ or function.__name__ == "<lambda>":
        return None
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        return None
    return f" {values}" if values else ""
