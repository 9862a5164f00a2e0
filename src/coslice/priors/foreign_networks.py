"""U-Nets of other libraries, computed by these: diffusers' UNet2DModel and the two-dimensional one of MONAI.

`FOREIGN` is how files name them, as `coslice.networks.NETWORKS` names ours. A configuration holds the arguments that
their own files give, and nothing but these: each of its type, numbers within the bounds of `coslice.networks.limits`.
The class is one of two, whatever a file says, so no file can have anything else built or run. A library is imported
when one of its networks is built.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.escapes import shown, visible
from coslice.networks.limits import check_counts
from coslice.tree import plain, typed

__all__ = [
    "FOREIGN",
    "DiffusersUNet",
    "DiffusersUNetConfig",
    "ForeignConfig",
    "ForeignUNet",
    "MonaiUNet",
    "MonaiUNetConfig",
    "check_ready",
    "checked_answer",
    "imported",
]

_MOST_LEVELS = 12
_Nothing = type(None)
_Words = tuple[str, ...]
_Counts = tuple[int, ...]


def imported(library: str, module: str, name: str) -> Any:
    """The class `name` of a module of a library that need not be there.

    Raises:
        CosliceError: it is not installed, or cannot be imported beside what is.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == library:
            raise CosliceError(
                f"prior: networks of {library} are computed by {library}, which is not installed; install it with: "
                f'pip install "coslice[{library}]".'
            ) from error
        raise _broken(library, error) from error
    except (ImportError, RuntimeError, AttributeError) as error:
        raise _broken(library, error) from error


def _broken(library: str, error: Exception) -> CosliceError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    return CosliceError(
        f"prior: {library} is installed, but it cannot be imported here ({visible(reason)}); install versions of it "
        "and of torch that belong together."
    )


@dataclass(frozen=True)
class ForeignConfig(ABC):
    """The shape of a network of another library.

    Attributes:
        arguments: of its class, by name, plain values; what is left out is as the library has it.

    Raises:
        CosliceError: an argument that is not known, of another type or beyond bounds, and networks that need more than
            an image and a time.
    """

    arguments: Mapping[str, Any]

    title: ClassVar[str]
    kinds: ClassVar[dict[str, Any]]

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""

    @property
    @abstractmethod
    def blocks(self) -> int:
        """Blocks of the level that has the most."""

    @property
    def image_channels(self) -> int:
        return self.arguments["in_channels"]

    @property
    def learn_sigma(self) -> bool:
        """Whether it names variances too, in as many channels again."""
        return self.arguments["out_channels"] == 2 * self.image_channels

    @property
    def classes(self) -> int:
        return 0

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this."""
        return 2 ** (len(self.widths) - 1)

    # As `coslice.networks.limits.check_room` asks a network of ours.
    @property
    def channels(self) -> int:
        return 1

    @property
    def multipliers(self) -> tuple[int, ...]:
        return self.widths

    def to_dict(self) -> dict[str, Any]:
        return plain(self.arguments)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], who: str = "") -> Any:
        """The configuration of these arguments.

        Raises:
            CosliceError: as of the class; it begins with `who`.
        """
        who = who or cls.title
        # What a later version of the library added, and leaves unset, changes nothing.
        known = {name for name, value in values.items() if name in cls.kinds or value is not None}
        given = {name: values[name] for name in values if name in known and not name.startswith("_")}
        if strange := [name for name in given if name not in cls.kinds]:
            raise CosliceError(
                f"{who}: {visible(strange[0][:80])} is {shown(given[strange[0]])}, which is not known of a {cls.title}."
            )
        if missing := [name for name in ("in_channels", "out_channels", *cls._needed()) if given.get(name) is None]:
            raise CosliceError(f"{who}: it does not say {', '.join(missing)}, without which no network can be built.")
        cls._check_free(given, who)
        found = cls({name: typed(cls.kinds[name], value, name, who) for name, value in given.items()})
        found._check_bounds(who)
        return found

    @classmethod
    @abstractmethod
    def _needed(cls) -> tuple[str, ...]:
        """Arguments without which nothing is known."""

    @classmethod
    @abstractmethod
    def _check_free(cls, given: Mapping[str, Any], who: str) -> None:
        """Refuse networks that wait for a condition, or are of another number of axes."""

    def _check_bounds(self, who: str) -> None:
        inner, outer = self.image_channels, self.arguments["out_channels"]
        numbers = {f"width {number}": width for number, width in enumerate(self.widths)}
        check_counts(who, in_channels=inner, out_channels=outer, blocks=self.blocks, **numbers)
        if not 1 <= len(self.widths) <= _MOST_LEVELS:
            raise CosliceError(f"{who}: {len(self.widths)} levels were given, 1 to {_MOST_LEVELS} are needed.")
        if outer not in (inner, 2 * inner):
            raise CosliceError(
                f"{who}: it makes {outer} channels of {inner}, but as many or twice as many are needed; a network that "
                "sees more than the noisy image is none of an image alone."
            )


@dataclass(frozen=True)
class DiffusersUNetConfig(ForeignConfig):
    """The arguments of a UNet2DModel, as its config.json has them."""

    title = "UNet2DModel"
    kinds: ClassVar[dict[str, Any]] = {
        "sample_size": int | tuple[int, int] | None,
        "in_channels": int,
        "out_channels": int,
        "center_input_sample": bool,
        "time_embedding_type": Literal["positional", "learned"],
        "time_embedding_dim": int | None,
        "freq_shift": float,
        "flip_sin_to_cos": bool,
        "down_block_types": _Words,
        "mid_block_type": str | None,
        "up_block_types": _Words,
        "block_out_channels": _Counts,
        "layers_per_block": int,
        "mid_block_scale_factor": float,
        "downsample_padding": Literal[0, 1],
        "downsample_type": str,
        "upsample_type": str,
        "dropout": float,
        "act_fn": str,
        "attention_head_dim": int | None,
        "norm_num_groups": int,
        "attn_norm_num_groups": int | None,
        "norm_eps": float,
        "resnet_time_scale_shift": str,
        "add_attention": bool,
        "class_embed_type": _Nothing,
        "num_class_embeds": _Nothing,
        "num_train_timesteps": int | None,
    }

    @property
    def widths(self) -> tuple[int, ...]:
        return self.arguments["block_out_channels"]

    @property
    def blocks(self) -> int:
        return self.arguments.get("layers_per_block", 2)

    @property
    def image_size(self) -> int | None:
        """Side of the images it was made for, where that is one number."""
        size = self.arguments.get("sample_size")
        return size if isinstance(size, int) else None

    @property
    def steps(self) -> int | None:
        """The most steps that it knows; None of one that takes any."""
        learned = self.arguments.get("time_embedding_type") == "learned"
        return self.arguments.get("num_train_timesteps") if learned else None

    @classmethod
    def _needed(cls) -> tuple[str, ...]:
        return ("block_out_channels", "down_block_types", "up_block_types")

    @classmethod
    def _check_free(cls, given: Mapping[str, Any], who: str) -> None:
        if given.get("class_embed_type") is not None or given.get("num_class_embeds") is not None:
            raise CosliceError(
                f"{who}: it waits for a class with every image, but a network of images alone is needed."
            )
        if given.get("time_embedding_type") == "fourier":
            raise CosliceError(
                f"{who}: its time_embedding_type is fourier, a network of noise levels and not of steps; a "
                "positional or learned one is needed."
            )


@dataclass(frozen=True)
class MonaiUNetConfig(ForeignConfig):
    """The arguments of a DiffusionModelUNet, as a bundle's network_def has them."""

    title = "DiffusionModelUNet"
    kinds: ClassVar[dict[str, Any]] = {
        "spatial_dims": Literal[2],
        "in_channels": int,
        "out_channels": int,
        "num_res_blocks": int | _Counts,
        "channels": _Counts,
        "attention_levels": tuple[bool, ...],
        "norm_num_groups": int,
        "norm_eps": float,
        "resblock_updown": bool,
        "num_head_channels": int | _Counts,
        "with_conditioning": bool,
        "transformer_num_layers": int,
        "cross_attention_dim": _Nothing,
        "num_class_embeds": _Nothing,
        "upcast_attention": bool,
        "dropout_cattn": float,
        "include_fc": bool,
        "use_combined_linear": bool,
        "use_flash_attention": bool,
    }

    @property
    def widths(self) -> tuple[int, ...]:
        return self.arguments["channels"]

    @property
    def blocks(self) -> int:
        blocks = self.arguments.get("num_res_blocks", 2)
        return blocks if isinstance(blocks, int) else max(blocks, default=0)

    @classmethod
    def _needed(cls) -> tuple[str, ...]:
        return ("spatial_dims", "channels", "attention_levels")

    @classmethod
    def _check_free(cls, given: Mapping[str, Any], who: str) -> None:
        conditions = ("cross_attention_dim", "num_class_embeds")
        if given.get("with_conditioning") or any(given.get(name) is not None for name in conditions):
            raise CosliceError(
                f"{who}: it waits for a condition or a class with every image, but a network of images alone is needed."
            )
        if given.get("spatial_dims") != 2:
            raise CosliceError(
                f"{who}: spatial_dims is {shown(given.get('spatial_dims'))}, but a network of two-dimensional images "
                "is needed; a network of volumes is no prior of slices."
            )


class ForeignUNet(nn.Module, ABC):
    """(v_t, t) -> what the network names, by a network of another library.

    Args:
        config: its shape; None of a network at hand that none describes.
        inner: the network itself, where it is there; else it is built.
        words: that tell a network at hand from others with the same weights.
    """

    own_layers = False

    def __init__(self, config: Any, inner: nn.Module | None = None, words: str = ""):
        super().__init__()
        self.config, self._words = config, words
        self.inner = self._built(dict(config.arguments)) if inner is None else inner

    @property
    def stride(self) -> int:
        return 1 if self.config is None else self.config.stride

    @property
    def identity(self) -> object:
        """What weights do not tell of it."""
        return self._words if self.config is None else self.config.to_dict()

    @abstractmethod
    def forward(self, v_t: Tensor, t: Tensor) -> Tensor:
        """v_t (b, c, h, w) and t (b,) -> (b, c or 2 c, h, w)."""

    @abstractmethod
    def _built(self, arguments: dict[str, Any]) -> nn.Module:
        """The library's module."""


class DiffusersUNet(ForeignUNet):
    """A UNet2DModel, or a module that is called as one is."""

    def forward(self, v_t: Tensor, t: Tensor) -> Tensor:
        # A learned embedding is a table of whole steps.
        learned = self.config is not None and self.config.arguments.get("time_embedding_type") == "learned"
        return self.inner(v_t, t.round().long() if learned else t, return_dict=False)[0]

    def _built(self, arguments: dict[str, Any]) -> nn.Module:
        return _made(imported("diffusers", "diffusers.models.unets.unet_2d", "UNet2DModel"), arguments)


class MonaiUNet(ForeignUNet):
    """A DiffusionModelUNet, or a module that is called as one is."""

    def forward(self, v_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x=v_t, timesteps=t)

    def _built(self, arguments: dict[str, Any]) -> nn.Module:
        return _made(imported("monai", "monai.networks.nets", "DiffusionModelUNet"), arguments)


FOREIGN: dict[str, tuple[Any, Any]] = {
    "diffusers-unet": (DiffusersUNetConfig, DiffusersUNet),
    "monai-unet": (MonaiUNetConfig, MonaiUNet),
}


def _made(kind: Any, arguments: dict[str, Any]) -> nn.Module:
    try:
        return kind(**arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise CosliceError(
            f"prior: no {kind.__name__} can be built with the arguments that were given ({visible(reason)}); correct "
            "its configuration."
        ) from error


def check_ready(network: nn.Module) -> None:
    """Refuse a network at hand that is not ready to answer.

    Raises:
        CosliceError: it is in training mode, or has no numbers.
    """
    reason = ""
    if network.training:
        reason = "it is in training mode, where dropout and batch statistics change its answers; call its eval()"
    elif any(parameter.is_meta for parameter in network.parameters()):
        reason = "its weights are on the device meta, which holds no numbers; load them"
    if reason:
        raise CosliceError(f"prior: a {type(network).__name__} was given, but {reason}.")


def checked_answer(network: Any, v_t: Tensor, answer: Any) -> Tensor:
    """The answer of a stranger's network, if it is an image for each image.

    Raises:
        CosliceError: it is none.
    """
    if not isinstance(answer, torch.Tensor) or answer.shape != v_t.shape:
        found = tuple(answer.shape) if isinstance(answer, torch.Tensor) else f"a {type(answer).__name__}"
        raise CosliceError(
            f"prior: {type(network).__name__} was given images {tuple(v_t.shape)} and answered with {found}, but the "
            "same shape is needed."
        )
    return answer
