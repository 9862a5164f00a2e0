"""A live widget in a notebook: ipyniivue's canvases side by side, with one cursor and a choice of windows.

Importing ipyniivue imports all of Jupyter's widgets, so this module is imported when a widget is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

import nibabel
import numpy as np

from coslice.errors import CosliceError
from coslice.report.viewer import Scene

__all__ = ["niivue_widget"]

_HEIGHT = 360
"""Of a canvas, pixels."""
_TIED = {"2d": True, "3d": True, "crosshair": True, "zoom_pan": True, "slice_type": True}


def niivue_widget(scene: Scene) -> Any:
    """The volumes of a scene as an `ipywidgets.VBox`: a choice of windows, and below it a canvas for each volume.

    Args:
        scene: what is shown; its layers and errors are not, which the page has.

    Raises:
        CosliceError: ipyniivue is not installed, or cannot be imported.
    """
    try:
        niivue: Any = importlib.import_module("ipyniivue")
        widgets: Any = importlib.import_module("ipywidgets")
    except ImportError as error:
        raise CosliceError(
            f"show: a widget was asked for, but {error.name or 'ipyniivue'} is not installed; run pip install "
            '"coslice[viewer]", or leave out form="widget".'
        ) from error
    low, high = scene.window
    black, white = scene.presets[0]["low"], scene.presets[0]["high"]
    canvases, columns = [], []
    for name, volume in scene.volumes.items():
        voxels = (low + volume.numpy() * (high - low)).astype(np.float32)
        canvas = niivue.NiiVue(height=_HEIGHT)
        canvas.load_volumes(
            [{"name": f"{name}.nii", "data": _nifti(voxels, scene.spacing), "cal_min": black, "cal_max": white}]
        )
        canvases.append(canvas)
        columns.append(widgets.VBox([widgets.Label(name), canvas], layout=widgets.Layout(flex="1 1 0")))
    for canvas in canvases:
        canvas.broadcast_to([other for other in canvases if other is not canvas], _TIED)
    presets = {one["name"]: (one["low"], one["high"]) for one in scene.presets}
    choice = widgets.Dropdown(options=[*presets], value=next(iter(presets)), description="Window")

    def chosen(change: Any) -> None:
        for canvas in canvases:
            canvas.volumes[0].cal_min, canvas.volumes[0].cal_max = presets[change["new"]]

    choice.observe(chosen, "value")
    return widgets.VBox([choice, widgets.HBox(columns)])


def _nifti(voxels: np.ndarray, spacing: tuple[float, float, float]) -> bytes:
    """A NIfTI file of voxels (z, y, x), along right, anterior and superior."""
    return nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0])).to_bytes()
