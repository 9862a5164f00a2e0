"""The Hugging Face Hub: a file or a folder that is fetched once, then cached."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from coslice.errors import CosliceError

__all__ = ["hub_file", "hub_folder"]

_T = TypeVar("_T")


def hub_file(name: str, prefix: str, usual: str) -> Path:
    """The file behind PREFIX + "OWNER/REPOSITORY[/FILE][@REVISION]".

    Args:
        name: as the user gave it.
        prefix: that it begins with.
        usual: FILE, where it is left out.

    Raises:
        CosliceError: another form; the Hub cannot be reached, or the package that talks to it is missing.
    """
    _check_package(name)
    from huggingface_hub import hf_hub_download

    address, _, revision = name.removeprefix(prefix).partition("@")
    owner, _, rest = address.partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository):
        raise CosliceError(
            f"prior: {name} was given, but a prior on the Hub is {prefix}OWNER/REPOSITORY[/FILE][@REVISION]."
        )
    download = hf_hub_download
    return Path(_fetched(name, lambda: download(f"{owner}/{repository}", file or usual, revision=revision or None)))


def hub_folder(name: str, address: str, files: list[str]) -> Path:
    """A folder with those of `files` that a repository has.

    Args:
        name: as the user gave it.
        address: OWNER/REPOSITORY[@REVISION].
        files: paths in the repository, or patterns of such.

    Raises:
        CosliceError: the Hub cannot be reached, or the package that talks to it is missing.
    """
    _check_package(name)
    from huggingface_hub import snapshot_download

    repository, _, revision = address.partition("@")
    download = snapshot_download
    return Path(_fetched(name, lambda: download(repository, revision=revision or None, allow_patterns=files)))


def _check_package(name: str) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise CosliceError(
            f"prior: {name} is on the Hugging Face Hub, which needs the package huggingface_hub; "
            'install it with: pip install "coslice[hub]".'
        )


def _fetched(name: str, fetch: Callable[[], _T]) -> _T:
    try:
        return fetch()
    # Its errors share no base class: network, proxy, offline mode, no such repository, not allowed.
    except Exception as error:
        raise CosliceError(
            f"prior: {name} could not be fetched from the Hugging Face Hub and is not in its cache "
            f"({_first_sentence(error)}); check the name and the network, or download the file and give its path."
        ) from error


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).removesuffix(".")[:160]
