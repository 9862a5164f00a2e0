"""Other people's libraries, imported for a test or skipped with a reason."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType

import pytest
import torch

_KEPT: list[torch.library.Library] = []


def library(name: str) -> ModuleType:
    """The module `name`; the test that asks is skipped, and says why, where it cannot be imported."""
    _declare_what_torchvision_lacks()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"{name} cannot be imported: {error}")


def _declare_what_torchvision_lacks() -> None:
    """Declares two operators of torchvision, so that it imports beside another build of torch than its own.

    Its compiled part is bound to one build of torch. Where that does not load (a CUDA build beside a CPU build), its
    Python part fails at names that nothing here ever calls, and with it every library that imports it: deepinv,
    diffusers.
    """
    if _KEPT or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        _KEPT.append(torch.library.Library("torchvision", "DEF"))
        for operator in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
            _KEPT[0].define(operator)
