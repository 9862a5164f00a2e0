"""Where priors are: inside the package, in the user's own store, anywhere on disk, or on the Hugging Face Hub.

The user's store is the folder $COSLICE_PRIORS, else coslice/priors in the user's cache folder; `coslice priors import`
fills it, and a file NAME.safetensors in it is known as NAME. An embedded prior's name goes before a store's.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from coslice.errors import CosliceError
from coslice.io.refusals import check_name, reason_of, shown_path
from coslice.priors.foreign_folders import foreign_files, is_foreign
from coslice.priors.hub import hub_file

__all__ = ["embedded_priors", "find_prior", "store_remark", "stored_priors", "user_store"]

_EMBEDDED = resources.files("coslice") / "data" / "priors"
_SUFFIX = ".safetensors"
_HUB = "hf:"
_HUB_FILE = "prior.safetensors"


def embedded_priors() -> dict[str, Path]:
    """The priors that come with coslice, by name."""
    return _priors_in(Path(str(_EMBEDDED)))


def stored_priors() -> dict[str, Path]:
    """The priors in the user's store, by name; none of a user without a home, or of a store that cannot be read."""
    try:
        return _priors_in(user_store())
    except (CosliceError, OSError):
        return {}


def user_store() -> Path:
    """The folder of the user's own priors; it need not exist.

    Raises:
        CosliceError: the user has no home, and no folder is named.
    """
    chosen = os.environ.get("COSLICE_PRIORS")
    if chosen:
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # by its standard, another one is to be ignored
        cache = Path(os.path.expanduser("~")) / ".cache"
    if not cache.is_absolute():  # neither $HOME nor an entry for the user
        raise CosliceError(
            "priors: this user has no home folder to keep priors in; name one in $COSLICE_PRIORS, or give a file."
        )
    return cache / "coslice" / "priors"


def store_remark() -> str | None:
    """Why there can be no priors of the user's own; None where there can."""
    try:
        folder = user_store()
    except CosliceError as error:
        return str(error)
    try:
        os.listdir(folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.environ.get("COSLICE_PRIORS"):
            return None  # nothing was ever imported
        return f"priors: your store {shown_path(folder)} cannot be read: {reason_of(error)}; see $COSLICE_PRIORS."
    return None


def find_prior(name: str) -> Path:
    """The file behind a name, a path, or "hf:OWNER/REPOSITORY[/FILE][@REVISION]" (downloaded once, then cached).

    Of a folder of another library, "diffusers:..." or "monai:...", it is the file of the weights.

    Raises:
        CosliceError: nothing of that name; the Hub cannot be reached, or the package that talks to it is missing; as
            `coslice.priors.foreign_folders.foreign_files`.
    """
    if name.startswith(_HUB):
        return hub_file(name, _HUB, _HUB_FILE)
    if is_foreign(name):
        return foreign_files(name).weights
    known = {**stored_priors(), **embedded_priors()}
    path = known.get(name, Path(name))
    if path.is_file():
        check_name(path)
        return path
    if path.is_dir():
        if any((path / one).is_file() for one in ("model_index.json", "config.json")):
            raise CosliceError(f'prior: "{name}" is a folder; if diffusers wrote it, give diffusers:{name}.')
        raise CosliceError(f'prior: "{name}" is a folder; give a file in it.')
    raise CosliceError(
        f'prior: "{name}" was given, but it is neither an embedded prior ({", ".join(sorted(embedded_priors()))}), '
        f"nor one of yours ({', '.join(sorted(stored_priors())) or 'none'}), nor a file."
    )


def _priors_in(folder: Path) -> dict[str, Path]:
    files = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
    return {file.stem: file for file in files}
