"""The configuration that belongs to a published checkpoint: the one given, or a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.documents import read_json, read_yaml
from coslice.networks.configuration import Settings

__all__ = ["configuration_beside", "settings_of"]

_SIDECARS = ("{}_config.json", "{}_config.yaml", "{}_config.yml", "{}.json", "{}.yaml", "{}.yml")
_SIDECARS += ("config.json", "config.yaml", "config.yml")


def settings_of(path: Path, config: str | Path | Mapping | None) -> tuple[Settings, tuple[str, ...]]:
    """The configuration given, or found beside the checkpoint, and notes; empty without.

    Raises:
        CosliceError: a file that cannot be read, or is no configuration.
    """
    if isinstance(config, Mapping):
        return Settings(config, "config"), ()
    if config is not None:
        return Settings(_parsed(Path(config)), Path(config).name), ()
    found = configuration_beside(path)
    if found is None:
        return Settings({}, "config"), ()
    return Settings(_parsed(found), found.name), (f"The configuration was taken from {found.name}.",)


def configuration_beside(path: Path) -> Path | None:
    """The configuration file that belongs to a published checkpoint, where one lies beside it."""
    beside = (path.with_name(pattern.format(path.stem)) for pattern in _SIDECARS)
    return next((file for file in beside if file.is_file() and file != path), None)


def _parsed(path: Path) -> Any:
    try:
        return read_json(path) if path.suffix == ".json" else read_yaml(path)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "").lower() or f"it is not JSON or YAML of plain values ({error})"
        raise CosliceError(f"{path.name} cannot be read as a configuration: {reason}; correct it.") from error
