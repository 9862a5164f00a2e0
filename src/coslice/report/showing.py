"""Volumes that are looked at: in the browser, in a notebook, or as a picture of the three planes.

    coslice.show(volume)                              one volume
    coslice.show({"before": a, "after": b})           several of one grid, with one cursor
    coslice.show(a, truth=b)                          and their differences
    coslice.show(result)                              what a run gave, beside the first reconstruction and the truth

What is shown is one page, as the report's (`coslice.report.viewer`): NiiVue in three planes, presets of windows, no
request to anything outside. A notebook gets the page within a frame that can reach nothing of the notebook, so it works
where no kernel runs, and in what is saved and sent. A live widget of `ipyniivue` is to be had with `form="widget"`.
Without that package, which carries NiiVue, both have pictures of the three middle planes.

A volume in units of its own says nothing of its unit, so it is guessed from its histogram (`coslice.values.reading_of`)
whether it is in HU, which gives the presets of CT; whoever knows says `unit=`. The page says what was guessed.
"""

from __future__ import annotations

import base64
import html
import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.io.files import write_bytes, write_text
from coslice.problems import Study
from coslice.report.environment import template, uri
from coslice.report.page import facts, plane_row
from coslice.report.pictures import Spacing, shown
from coslice.report.three_planes import three_planes
from coslice.report.viewer import Scene, has_niivue, viewer
from coslice.run_result import Result
from coslice.values import reading_of
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window

__all__ = ["FORMS", "Showing", "in_notebook", "show", "showing"]

Shown = Volume | Tensor | Result | Study
FORMS = ("auto", "page", "picture", "widget")
_IN_NOTEBOOK = 12_000_000
"""Bytes that the volumes take within a notebook, which is saved with them; half of a page's."""
_HEIGHT = 760
"""Of a frame in a notebook, pixels: three planes with the controls."""
_UNIT = Window(0.0, 1.0, "")
_MISSING = 'To look through the slices, run pip install "coslice[viewer]", which brings NiiVue along.'


@dataclass(frozen=True, repr=False)
class Showing:
    """Volumes of one grid, ready to be shown; a notebook displays it where it is the last line of a cell.

    Attributes:
        scene: the volumes with their grid and window.
        notes: sentences on what was guessed.
        form: of a notebook: "page", "picture" or "widget".
    """

    scene: Scene
    notes: tuple[str, ...] = ()
    form: str = "page"

    def page(self, budget: int = 24_000_000) -> str:
        """The whole page, HTML.

        Args:
            budget: bytes that the volumes may take, see `coslice.report.viewer.viewer`.
        """
        scene = self.scene
        display = shown(scene.window, scene.unit)
        return template("look.html").render(
            title=scene.title,
            viewer=viewer([scene], budget),
            notes=self.notes,
            facts=facts(next(iter(scene.volumes.values())), scene.spacing, scene.window, display, scene.unit, None),
            planes=[
                plane_row(plane, scene.volumes, scene.numbers, scene.spacing, scene.window, display)
                for plane in PLANES.values()
            ],
        )

    def write(self, path: str | Path) -> Path:
        """Write the page; an old one is replaced whole or not at all.

        Raises:
            CosliceError: a path that cannot be written.
        """
        write_text(path, self.page())
        return Path(path)

    def picture(self) -> bytes:
        """The three middle planes of every volume, PNG."""
        scene = self.scene
        return three_planes(scene.volumes, scene.spacing, scene.window, shown(scene.window, scene.unit))

    def widget(self) -> Any:
        """A live widget of ipyniivue: the volumes side by side, with one cursor and a choice of windows.

        Raises:
            CosliceError: ipyniivue or ipywidgets is not installed.
        """
        from coslice.report.niivue_widget import niivue_widget  # imports Jupyter's packages

        return niivue_widget(self.scene)

    def frame(self) -> str:
        """The page in a frame, HTML for a notebook: scripts run in it and reach nothing of the notebook."""
        page = html.escape(self.page(_IN_NOTEBOOK), quote=True)
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{page}" title="{html.escape(self.scene.title, quote=True)}" '
            f'style="width: 100%; height: {_HEIGHT}px; border: 0; background: #fff"></iframe>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.form == "widget":
            return self.widget()._repr_mimebundle_(include=include, exclude=exclude)
        drawn = self.picture()
        image = base64.b64encode(drawn).decode()
        if self.form == "page" and has_niivue():
            return {"text/plain": repr(self), "image/png": image, "text/html": self.frame()}
        lines = [*self.notes, *([] if self.form == "picture" else [_MISSING])]
        below = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
        form = f'<img src="{uri("image/png", drawn)}" alt="The three middle planes">{below}'
        return {"text/plain": repr(self), "image/png": image, "text/html": form}

    def __repr__(self) -> str:
        voxels = " x ".join(map(str, next(iter(self.scene.volumes.values())).shape))
        return f"Showing({', '.join(self.scene.volumes)}: {voxels} voxels (z, y, x))"


def show(
    *given: Shown | Mapping[str, Volume | Tensor],
    truth: Volume | Tensor | None = None,
    names: str | tuple[str, ...] | list[str] = (),
    spacing: Spacing | None = None,
    unit: str | None = None,
    form: str = "auto",
    path: str | Path | None = None,
) -> Path | None:
    """Look at volumes: within a notebook there, elsewhere in the browser.

    Args:
        given, truth, names, spacing, unit: as `showing` takes them.
        form: "auto" is the page; "page", in a notebook within a frame; "picture", the three middle planes, in a
            notebook alone or as a PNG file; "widget", a live one in a notebook.
        path: to write the page or the picture there, and open nothing; None is a temporary file that stays until the
            system clears it, and the browser is opened if there is one.

    Returns:
        In a notebook None, where the volumes are displayed at once; else the path of what was written, which is
        printed too.

    Raises:
        CosliceError: as `showing`; another form, or a widget outside of a notebook.
    """
    if form not in FORMS:
        raise CosliceError(f'show: the form "{form}" was given, one of {", ".join(FORMS)} is needed.')
    ready = showing(*given, truth=truth, names=names, spacing=spacing, unit=unit, form=form)
    if path is None and in_notebook():
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        display(ready.widget() if form == "widget" else ready)
        return None
    if form == "widget":
        raise CosliceError('show: a widget was asked for, but it lives in a notebook; leave out form="widget" here.')
    if form == "picture":
        target = Path(path) if path is not None else _temporary(".png")
        write_bytes(target, ready.picture())
    else:
        target = ready.write(path if path is not None else _temporary(".html"))
    opened = path is None and _opened(target)
    sys.stdout.write(f"{'Opened' if opened else 'Written'}: {target}\n")
    return target


def showing(
    *given: Shown | Mapping[str, Volume | Tensor],
    truth: Volume | Tensor | None = None,
    names: str | tuple[str, ...] | list[str] = (),
    spacing: Spacing | None = None,
    unit: str | None = None,
    form: str = "auto",
) -> Showing:
    """The volumes, ready to be shown, and nothing shown yet.

    Args:
        given: volumes of one grid; tensors (z, y, x) in the unit window; several by name in a mapping; or one result
            or study, which brings its first reconstruction and, where it is known, the truth.
        truth: to compare with; their absolute differences from it are shown too.
        names: what they are called, in their order.
        spacing: (dz, dy, dx) of tensors, mm; None is that of the volumes among them, else 1 mm, which is noted.
        unit: of the volumes: "HU" has the windows of CT, anything else is a name; None guesses, which is noted.
        form: see `show`.

    Raises:
        CosliceError: nothing to show, volumes of different grids, or with values that are not finite.
    """
    volumes = _named(given, [names] if isinstance(names, str) else list(names))
    if len(volumes) == 1 and isinstance(one := next(iter(volumes.values())), Result | Study):
        if names or spacing is not None or unit is not None:
            raise CosliceError(
                f"show: names, a spacing or a unit was given with a {type(one).__name__}, which says them itself; "
                "leave them out, or give its volumes."
            )
        return _of_run(one, truth, form)
    if truth is not None and "truth" in volumes:
        raise CosliceError('show: a volume called "truth" was given beside the truth itself; give it another name.')
    volumes = ({} if truth is None else {"truth": truth}) | volumes
    for name, volume in volumes.items():
        if not isinstance(volume, Volume | Tensor):
            raise CosliceError(
                f"show: {name} is a {type(volume).__name__}, but a Volume, a tensor (z, y, x), or one result or study "
                "alone is needed."
            )
        if isinstance(volume, Tensor) and volume.is_complex():
            raise CosliceError(f"show: {name} has complex numbers, but real ones are needed; give its abs().")
    if spacing is not None and not isinstance(spacing, tuple | list):
        raise CosliceError(f"show: the spacing {spacing} was given, but (dz, dy, dx) in mm is needed.")
    placed = {name: volume for name, volume in volumes.items() if isinstance(volume, Volume)}
    notes: list[str] = []
    if placed and len(placed) < len(volumes):
        raise CosliceError(
            "show: volumes and tensors were given together, which are in different units; give all as volumes, as "
            "volume.with_data(window.from_unit(tensor)) makes them."
        )
    if placed:
        first, *others = placed.values()
        if any(one.shape == first.shape and abs(one.affine - first.affine).max() > 1e-3 for one in others):
            notes.append("The volumes lie in different places; they are shown voxel by voxel, in that of the first.")
        spacing = first.spacing
        window, said = _window(list(placed.values()), unit)
        notes += said
        scaled = {name: (volume.data - window.low) / window.width for name, volume in placed.items()}
    else:
        if spacing is None:
            spacing = (1.0, 1.0, 1.0)
            notes.append("Nothing was said of the spacing; it is taken for 1 mm.")
        window = Window(0.0, 1.0, unit or "")
        scaled = {name: volume.float() for name, volume in volumes.items() if isinstance(volume, Tensor)}
    return _ready(" and ".join(scaled), scaled, spacing, window, truth is not None, notes, form)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which displays more than text."""
    asked = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return asked is not None and getattr(asked, "kernel", None) is not None


def _named(given: tuple[Any, ...], names: list[str]) -> dict[str, Any]:
    """The volumes by name; those without one are called by their number."""
    if not given:
        raise CosliceError("show: nothing was given; give a volume, several, or a result.")
    found: list[tuple[str, Any]] = []
    for one in given:
        found += [(str(name), part) for name, part in one.items()] if isinstance(one, Mapping) else [("", one)]
    if names and len(names) != len(found):
        raise CosliceError(f"show: {len(names)} names were given for {len(found)} volumes; give as many.")
    called = [
        names[number] if names else name or ("volume" if len(found) == 1 else f"volume {number + 1}")
        for number, (name, _) in enumerate(found)
    ]
    if len(set(called)) < len(called):
        raise CosliceError(f"show: the names {', '.join(called)} were given, but each volume needs one of its own.")
    return dict(zip(called, (volume for _, volume in found), strict=True))


def _of_run(one: Result | Study, truth: Any, form: str) -> Showing:
    """A result, or what there is before one."""
    study = one if isinstance(one, Study) else one.study
    if truth is not None and not isinstance(truth, Tensor):
        raise CosliceError(
            "show: of a result the truth is a tensor (z, y, x) in the unit window, as study.unit is; window.to_unit "
            "makes one."
        )
    truth = truth if truth is not None else None if study is None else study.unit
    problem = one.problem if isinstance(one, Study) else None if one.plan is None else one.plan.problem
    volumes: dict[str, Tensor] = {} if truth is None else {(study and study.reference) or "truth": truth}
    notes = []
    volumes["first" if problem is None else problem.initial_title] = (
        one.initial if isinstance(one, Result) else one.problem.clamped(one.problem.initial())
    )
    if isinstance(one, Result):
        volumes["result" if one.plan is None else one.plan.label] = one.reconstruction
    if study is None:
        notes.append("In the unit window: coslice.run was given a problem, which does not say what 0 and 1 are.")
    if problem is None:
        notes.append("Nothing is known of the spacing; it is taken for 1 mm.")
    spacing = (1.0, 1.0, 1.0) if problem is None else problem.spacing
    title = study.title if study is not None else " and ".join(volumes)
    return _ready(title, volumes, spacing, _UNIT if study is None else study.window, truth is not None, notes, form)


def _ready(
    title: str,
    volumes: Mapping[str, Tensor],
    spacing: Spacing,
    window: Window,
    known: bool,
    notes: list[str],
    form: str,
) -> Showing:
    volumes = {name: volume.detach().cpu() for name, volume in volumes.items()}
    scene = Scene(title, volumes, spacing, (window.low, window.high), window.unit, known)
    return Showing(scene, tuple(notes), "page" if form == "auto" else form)


def _window(volumes: list[Volume], unit: str | None) -> tuple[Window, list[str]]:
    """What is 0 and 1 of volumes in their own unit, and what was guessed."""
    guessed = unit is None and reading_of(volumes[0]).hu
    if unit == "HU" or guessed:
        note = 'The values are taken for HU; if they are not, say so with unit="".'
        return CT_WINDOW, [note] if guessed else []
    known = [
        volume.data.detach()[volume.data.isfinite()] for volume in volumes
    ]  # what is not is refused by the scene, by name
    low = min((float(values.min()) for values in known if len(values)), default=0.0)
    high = max((float(values.max()) for values in known if len(values)), default=1.0)
    return Window(low, high if high > low else low + max(1.0, 1e-6 * abs(low)), unit or ""), []


def _temporary(ending: str) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="coslice-show-")) / f"volumes{ending}"
    except OSError as error:
        raise CosliceError(
            "show: there is no place for a temporary file; say where to write it, as in path='x.html'."
        ) from error


def _opened(path: Path) -> bool:
    """Whether a browser took the page."""
    try:
        return webbrowser.open(path.as_uri())
    except (webbrowser.Error, OSError):
        return False
