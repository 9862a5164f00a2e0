"""What images a published network was trained on: their plane, their window, and the range that it saw them in.

Nothing in the weights says it, and a wrong answer gives a wrong volume without an error. So it is looked for, and what
was not stated by the user is said in a sentence; what nothing says is asked for. Looked for in this order:

    the user            plane, window, range
    its configuration   plane, window, range, centered, ...; then the data set that it names
    its name            of a published file (`PUBLISHED_FILES`); then words in it, as in brain_coronal.pth
    its shape           three channels with four classes are DiffusionBlend's; one in and two out are DDS's
    its library         diffusers' pipelines take what comes out of a network from [-1, 1]
    what it is for      a recipe of a benchmark, or a training run, which says what it needs

`centered` is score_sde's word, and `rescaled` DDPM's: the data were brought to [-1, 1] before the network saw them.
Where they were not, guided diffusion saw them as they were; NCSN++ did too, and brings them to [-1, 1] inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from coslice.axes import AXES, PLANES, check_plane, stacked_along
from coslice.errors import CosliceError
from coslice.escapes import shown as shown_value
from coslice.networks.configuration import Settings, flag, numbers
from coslice.networks.guided_config import GuidedUNetConfig
from coslice.priors.denoisers import CENTRED, RAW, InputRange, check_input_range
from coslice.window import check_window, same_window

__all__ = [
    "PUBLISHED_FILES",
    "UNKNOWN",
    "PublishedFile",
    "Shown",
    "ask_for_rest",
    "differs",
    "origin_of",
    "parse_range",
    "published_name",
    "shown_in_words",
    "spoken",
]


@dataclass(frozen=True)
class Shown:
    """What a network was shown; None where it is not known.

    Attributes:
        plane: rows and columns of its images, two of "z", "y", "x".
        window: intensities that are 0 and 1, as `coslice.window.scan_window` takes it.
        input_range: what it saw for 0 and 1.

    Raises:
        CosliceError: a plane, a window or a range that is none.
    """

    plane: str | None = None
    window: str | None = None
    input_range: InputRange | None = None

    def __post_init__(self) -> None:
        if self.plane is not None:
            check_plane(self.plane)
        if self.window is not None:
            check_window(self.window)
        if self.input_range is not None:
            check_input_range(self.input_range)

    @property
    def known(self) -> dict[str, Any]:
        """What is known, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


UNKNOWN = Shown()


@dataclass(frozen=True)
class PublishedFile:
    """A published checkpoint, known by its name.

    Attributes:
        pattern: a regular expression, searched in "FOLDER/FILE", in any case.
        family: a name in `coslice.networks.NETWORKS`.
        title: whose it is, in words.
        shown: what it was shown.
        refusal: why it cannot be used; empty for those that can.
    """

    pattern: str
    family: str
    title: str
    shown: Shown
    refusal: str = ""


_AXIAL_CT = Shown("yx", "ct", RAW)
_COMPLEX = (
    "its images have two channels, the real and the imaginary part, but coslice reconstructs images with one value a "
    "pixel; name another prior."
)

PUBLISHED_FILES = (
    PublishedFile(r"AAPM256_1M(?![a-z0-9])", "guided-diffusion", "DDS's network of AAPM's CT", _AXIAL_CT),
    PublishedFile(
        r"fastmri_(brain|knee)_320_complex", "guided-diffusion", "DDS's network of complex MR", Shown(), _COMPLEX
    ),
    PublishedFile(r"(?<![a-z0-9])checkpoint_185(?!\d)", "ncsnpp", "DiffusionMBIR's network of AAPM's CT", _AXIAL_CT),
    PublishedFile(
        r"(?<![a-z0-9])checkpoint_95(?!\d)",
        "ncsnpp",
        "DiffusionMBIR's network of fastMRI's knees, whose slices are coronal",
        Shown("zx", "mr", RAW),
    ),
    PublishedFile(r"(?<![a-z0-9])checkpoint_70(?!\d)", "ncsnpp", "ISCS's network of AAPM's CT", _AXIAL_CT),
    PublishedFile(r"BMR_ZSR_256_YZ", "ncsnpp", "TPDM's primary network, of coronal T1 brains", Shown("zx", "mr", RAW)),
    PublishedFile(r"BMR_ZSR_256_XY", "ncsnpp", "TPDM's auxiliary network, of axial T1 brains", Shown("yx", "mr", RAW)),
    PublishedFile(
        r"triplane3D_finetune", "guided-diffusion", "a network of DiffusionBlend", Shown("yx", "ct", CENTRED)
    ),
)

_DATA_SETS = (
    (r"aapm|ldct|lidc|mayo", Shown("yx", "ct")),
    (r"bmr.*xy", Shown("yx", "mr")),
    (r"bmr", Shown("zx", "mr")),
    (r"fastmri.*brain", Shown("yx", "mr")),
    (r"fastmri", Shown("zx", "mr")),
)
"""Of published code, and what their images are: AAPM's and LIDC's are axial CT; TPDM's brains (BMR) axial where a name
has XY, else coronal; fastMRI's knees coronal, its brains axial."""

_PLANE_WORDS = {plane.name: plane.rows + plane.columns for plane in PLANES.values()} | {
    "transaxial": "yx",
    "transverse": "yx",
}
_WINDOW_WORDS = {**dict.fromkeys(("ct", "cbct", "ldct"), "ct"), **dict.fromkeys(("mr", "mri", "t1", "t1w"), "mr")}


def origin_of(
    path: Path,
    family: str,
    config: Any,
    settings: Settings,
    stated: Shown,
    otherwise: Shown,
) -> tuple[Shown, tuple[str, ...]]:
    """What a published network was shown, as far as anything says it, and sentences on where that is from.

    Args:
        path: of its file.
        family, config: as its weights tell.
        settings: its configuration; empty without.
        stated: by the user; it is taken as it is.
        otherwise: taken where nothing else says it.

    Raises:
        CosliceError: a configuration that cannot be read, or a file that is known and cannot be used.
    """
    known, told = _published_file(path, family), _of_configuration(settings, family)
    named = [] if known is None else [(f"The name of the file, which is that of {known.title}", known.shown)]
    sources = [
        *(("", shown) for _, shown in told),  # what is written there in so many words is no guess
        (f"the data set that {settings.source} names", _of_data_set(_data_set(settings))),
        ("" if known is None else f"the name of the file, which is that of {known.title}", known and known.shown),
        (f"the name {path.name}", _of_words(path.stem)),
        _of_shape(config),
        ("what it is to be used for", otherwise),
        _usual(family),
    ]
    found, said = dict(stated.known), []
    for source, shown in sources:
        fresh = {} if shown is None else {k: v for k, v in shown.known.items() if k not in found}
        found |= fresh
        if fresh and source:
            was = "was" if len(fresh) == 1 else "were"
            said.append(f"{spoken(fresh)} {was} taken from {source}; state it at import where that is wrong.")
    said += [
        f"{source}, does not agree with the {spoken({name: found[name]})} that was stated, and taken."
        for source, shown in (*told, *named)
        for name, value in shown.known.items()
        if differs(name, value, found[name])
    ]
    return Shown(**found), tuple(said)


def ask_for_rest(path: Path, shown: Shown, asked: str = "") -> None:
    """Refuse a network of which something is not known, with the command that states it.

    Args:
        path: of its file.
        shown: what is known.
        asked: the name of a folder of another library.

    Raises:
        CosliceError: a plane, window or range that nothing says.
    """
    needed = {
        "plane": ("which plane its images were of (yx axial, zx coronal, zy sagittal)", "--plane yx"),
        "window": ("which intensities were 0 and 1 (ct, mr or LOW:HIGH)", "--window ct"),
        "input_range": ("in which range it saw them (0:1 or -1:1)", "--range 0:1"),
    }
    lacking = [words for name, words in needed.items() if getattr(shown, name) is None]
    if lacking:
        name, beside = (asked, "a coslice.json in it") if asked else (path.name, "a configuration beside it")
        raise CosliceError(
            f"{name}: neither its name nor {beside} says {', nor '.join(w for w, _ in lacking)}; "
            f"state it, as in: coslice priors import {name} {' '.join(option for _, option in lacking)}."
        )


def shown_in_words(plane: str, window: str, input_range: InputRange) -> dict[str, Any]:
    """The same as entries of a card."""
    return {"plane": plane, "along": stacked_along(plane), "window": window, "input_range": list(input_range)}


def parse_range(text: str, who: str = "--range") -> InputRange:
    """LOW:HIGH as two numbers.

    Raises:
        CosliceError: something else.
    """
    low, _, high = text.partition(":")
    try:
        found = float(low), float(high)
    except ValueError:
        raise CosliceError(f'{who}: "{text}" was given, but LOW:HIGH is needed, as in -1:1 or 0:1.') from None
    check_input_range(found)
    return found


def _published_file(path: Path, family: str) -> PublishedFile | None:
    place = f"{path.parent.name}/{path.name}"
    files = (file for file in PUBLISHED_FILES if file.family == family)
    known = next((file for file in files if re.search(file.pattern, place, re.IGNORECASE)), None)
    if known is not None and known.refusal:
        raise CosliceError(f"{path.name}: it is {known.title}: {known.refusal}")
    return known


def published_name(path: Path, family: str) -> str:
    """The part of a file's name by which a published checkpoint is known, as "checkpoint_95"; "" of any other."""
    place = f"{path.parent.name}/{path.name}"
    found = (re.search(f.pattern, place, re.IGNORECASE) for f in PUBLISHED_FILES if f.family == family)
    return next((match.group(0) for match in found if match), "")


def _of_configuration(settings: Settings, family: str) -> list[tuple[str, Shown]]:
    """What each entry says that is made for it, with its words."""
    found, says = [], []
    plane, interval = "yx, zx or zy, or axial, coronal or sagittal,", "LOW:HIGH or a list of two numbers"
    for words, reader, needed in (
        (("plane", "orientation", "view", "slice_plane"), _plane, plane),
        (("axis", "slice_axis", "along"), _axis, f"z, y or x, {plane}"),
        (("window", "hu_window", "hu_range"), _window, f"ct, mr, {interval}"),
        (("modality",), _modality, "CT or MR"),
        (("input_range", "range", "data_range"), _range, interval),
        (("centered", "centred"), _centred, "true or false"),
        (("rescaled",), _centred if family == "guided-diffusion" else None, "true or false"),
    ):
        entry = None if reader is None else settings.get(*words)
        if entry is None or reader is None:
            continue
        word, given = entry
        if others := settings.elsewhere(word):
            raise CosliceError(
                f"{settings.source}: it says {word} {shown_value(given)} and {' and '.join(others)}, which do not "
                "agree; correct the configuration."
            )
        try:
            shown = reader(given)
        except (ValueError, TypeError, CosliceError) as error:
            raise CosliceError(
                f"{settings.source}: {word} {shown_value(given)} was given, but {needed} is needed; correct it."
            ) from error
        found.append((f"{settings.source}, which says {word} {shown_value(given)}", shown))
        says.append((f"{word} {shown_value(given)}", shown))
    ranges = {shown.input_range: said for said, shown in says if shown.input_range is not None}
    if len(ranges) > 1:
        raise CosliceError(
            f"{settings.source}: it says {' and '.join(ranges.values())}, which do not agree; correct the "
            "configuration."
        )
    return found


def _plane(given: Any) -> Shown:
    word = str(given).lower()
    return Shown(plane=_PLANE_WORDS.get(word, word))


def _axis(given: Any) -> Shown:
    word = str(given).lower()
    if word in AXES and len(word) == 1:
        return Shown(plane="".join(axis for axis in AXES if axis != word))
    return _plane(given)


def _window(given: Any) -> Shown:
    if isinstance(given, list | tuple):
        low, high = numbers(given)
        return Shown(window=f"{low:g}:{high:g}")
    return Shown(window=str(given).lower())


def _modality(given: Any) -> Shown:
    return Shown(window=_WINDOW_WORDS[str(given).lower()]) if str(given).lower() in _WINDOW_WORDS else Shown()


def _range(given: Any) -> Shown:
    low, high = parse_range(given) if isinstance(given, str) else numbers(given)
    return Shown(input_range=(float(low), float(high)))


def _centred(given: Any) -> Shown:
    return Shown(input_range=CENTRED if flag(given) else RAW)


def _data_set(settings: Settings) -> str:
    words = (settings.flat.get(word) for word in ("dataset", "root", "save_path"))
    return " ".join(word for word in words if isinstance(word, str))


def _of_data_set(text: str) -> Shown:
    return next((shown for pattern, shown in _DATA_SETS if re.search(pattern, text, re.IGNORECASE)), Shown())


def _of_words(text: str) -> Shown:
    """What a name says: of a plane, a modality, or a data set."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    told = _of_data_set(text)
    plane = next((_PLANE_WORDS[word] for word in words if word in _PLANE_WORDS), told.plane)
    window = next((_WINDOW_WORDS[word] for word in words if word in _WINDOW_WORDS), told.window)
    return Shown(plane, window)


def _of_shape(config: Any) -> tuple[str, Shown]:
    if not isinstance(config, GuidedUNetConfig):
        return "", Shown()
    if config.image_channels == 3 and config.classes == 4:
        return "the shape of DiffusionBlend's networks (three slices, four classes)", Shown("yx", "ct", CENTRED)
    published = GuidedUNetConfig()
    if (config.channels, config.multipliers, config.blocks, config.image_channels) == (
        published.channels,
        published.multipliers,
        published.blocks,
        published.image_channels,
    ):
        return "the shape of DDS's network of AAPM's CT", _AXIAL_CT
    if config.image_channels == 1 and config.learn_sigma:
        return "the form of DDS's networks (one channel in, two out), which saw images as they were", Shown(
            input_range=RAW
        )
    return "", Shown()


def _usual(family: str) -> tuple[str, Shown]:
    usual = {
        "ncsnpp": ("what is usual for NCSN++, which maps [0, 1] to [-1, 1] inside", Shown(input_range=RAW)),
        "diffusers-unet": ("what is usual in diffusers, whose pipelines show [-1, 1]", Shown(input_range=CENTRED)),
    }
    return usual.get(family, ("", Shown()))


def differs(name: str, one: Any, other: Any) -> bool:
    """Whether two values of a field of `Shown` stand for different images."""
    return not same_window(one, other) if name == "window" else one != other


def spoken(values: Mapping[str, Any]) -> str:
    """Fields of `Shown` in words: "plane yx and window ct"."""
    *first, last = (
        f"{name} {value}"
        if name != "input_range"
        else "no input range"
        if value is None
        else f"input range {value[0]:g}:{value[1]:g}"
        for name, value in values.items()
    )
    return f"{', '.join(first)} and {last}" if first else last
