"""Volumes as images of SimpleITK, MONAI, TorchIO and nibabel, and back.

    volume = coslice.interop.from_simpleitk(SimpleITK.ReadImage("scan.nrrd"))
    image = coslice.interop.to_simpleitk(volume)

A voxel stays where it is in the patient. What differs is how each library counts:

| | axes of the array | millimetres | place |
|---|---|---|---|
| ours | (z, y, x), canonical | towards right, anterior, superior (RAS) | affine |
| SimpleITK | (k, j, i) in numpy, any direction | towards left, posterior, superior (LPS) | spacing, direction, origin |
| MONAI | (channel, i, j, k), any direction | RAS, or LPS where `meta["space"]` says so | `affine` |
| TorchIO | (channel, i, j, k), any direction | RAS | `affine` |
| nibabel | (i, j, k), any direction | RAS, in the header's unit | `affine`, sform and qform |

An image of any orientation becomes a canonical volume that remembers the axis order it had, and goes back in it: what
comes out lies on the grid of what came in. (For axes in another order, `dataclasses.replace(volume,
orientation=("L", "P", "S"))` first.) Voxels are copied, as float32, on the CPU; nothing is resampled. Tags, histories
and other metadata of an image stay behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from coslice.errors import CosliceError
from coslice.interop.libraries import imported
from coslice.io.lengths import check_place, check_spacing
from coslice.io.nifti import canonical_volume, in_order, nifti_image
from coslice.io.nifti_header import mm_of_unit, qform_of
from coslice.volume import Volume

__all__ = [
    "from_monai",
    "from_nibabel",
    "from_simpleitk",
    "from_torchio",
    "to_monai",
    "to_nibabel",
    "to_simpleitk",
    "to_torchio",
]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Between LPS and RAS, both ways."""
_SCANNER, _ALIGNED = 1, 2


def to_simpleitk(volume: Volume) -> Any:
    """A `SimpleITK.Image` of float32, with spacing, direction cosines and origin.

    Axes that are not at right angles, as of a tilted gantry, stay so: SimpleITK resamples such an image rightly, but
    writes it to few formats.

    Raises:
        CosliceError: SimpleITK is not installed.
    """
    itk = imported("SimpleITK", "to_simpleitk")
    array, affine = _stored(volume)
    affine = _LPS @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = itk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def from_simpleitk(image: Any) -> Volume:
    """The volume of a `SimpleITK.Image`.

    Raises:
        CosliceError: something else; an image that is not 3D (trailing axes of length 1 are dropped), has several
            components or complex ones; voxels that are not finite; a spacing that no scan has.
    """
    itk = imported("SimpleITK", "from_simpleitk")
    _check_kind("from_simpleitk", image, itk.Image, "SimpleITK.Image")
    if image.GetPixelIDTypeAsString().startswith("label"):  # asked for its array it ends the process
        raise CosliceError(
            "from_simpleitk: a label map was given, which holds no voxels, but an image is needed; make one of it with "
            "SimpleITK.LabelMapToLabel."
        )
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        raise CosliceError(
            f"from_simpleitk: an image of {components} components a voxel was given, one is needed; choose it with "
            "SimpleITK.VectorIndexSelectionCast."
        )
    dimension = image.GetDimension()
    array = itk.GetArrayFromImage(image).transpose()
    affine = np.eye(4)
    if dimension >= 3:
        steps = np.array(image.GetDirection()).reshape(dimension, dimension) * image.GetSpacing()
        affine[:3, :3], affine[:3, 3] = steps[:3, :3], image.GetOrigin()[:3]
    return _volume("from_simpleitk", array, _LPS @ affine, "extract a volume, as in image[:, :, :, 0]")


def to_monai(volume: Volume) -> Any:
    """A `monai.data.MetaTensor`, (1, i, j, k), float32, with its affine in RAS, as `EnsureChannelFirst` makes them.

    Raises:
        CosliceError: MONAI is not installed.
    """
    data = imported("monai.data", "to_monai")
    array, affine = _stored(volume)
    meta = {"space": "RAS", "original_channel_dim": 0, "spatial_shape": np.array(array.shape)}
    return data.MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(affine), meta=meta)


def from_monai(image: Any) -> Volume:
    """The volume of a `monai.data.MetaTensor`, (1, i, j, k), or (i, j, k) as `LoadImage` gives it.

    Raises:
        CosliceError: something else, a plain tensor among it, which does not know where it is; several channels, a
            batch, 2D; voxels that are not finite or complex; a spacing that no scan has.
    """
    data = imported("monai.data", "from_monai")
    _check_kind("from_monai", image, data.MetaTensor, "monai.data.MetaTensor, which knows where it is,")
    affine = image.affine.detach().cpu().double().numpy()
    advice = "choose a channel, as in image[:1], and of a batch one image"
    if affine.shape != (4, 4):
        raise CosliceError(
            f"from_monai: an affine of shape {affine.shape} was given, 4 x 4 is needed, of one 3D image; {advice}."
        )
    if str(image.meta.get("space", "RAS")) in ("LPS", "SpaceKeys.LPS"):
        affine = _LPS @ affine
    array = _numpy(image.detach().cpu().as_tensor())
    return _volume("from_monai", _without_channel("from_monai", array, advice), affine, advice)


def to_torchio(volume: Volume) -> Any:
    """A `torchio.ScalarImage`, (1, i, j, k), float32.

    Raises:
        CosliceError: TorchIO is not installed.
    """
    torchio = imported("torchio", "to_torchio")
    array, affine = _stored(volume)
    return torchio.ScalarImage(tensor=torch.from_numpy(array)[None], affine=affine)


def from_torchio(image: Any) -> Volume:
    """The volume of a `torchio.ScalarImage` or `LabelMap` of one channel; an image of a file is read.

    Raises:
        CosliceError: something else, a Subject among it; several channels; voxels that are not finite; a spacing that
            no scan has.
    """
    torchio = imported("torchio", "from_torchio")
    _check_kind("from_torchio", image, torchio.Image, "torchio.ScalarImage (an entry of a Subject)")
    advice = "choose a channel"
    array = _without_channel("from_torchio", _numpy(image.data.detach().cpu()), advice)
    return _volume("from_torchio", array, np.array(image.affine, dtype=np.float64), advice)


def to_nibabel(volume: Volume) -> Any:
    """A `nibabel.Nifti1Image` of float32, with sform, qform and their codes: what `coslice.write_nifti` writes."""
    image = nifti_image(volume)
    # The voxels are a view of the volume's.
    return type(image)(np.array(image.dataobj), image.affine, image.header)


def from_nibabel(image: Any) -> Volume:
    """The volume of any `nibabel` spatial image, scaled by its header; as `coslice.read_nifti` of its file, if NIfTI.

    Raises:
        CosliceError: something else; an image that is not 3D (trailing axes of length 1 are dropped), coloured or
            complex; voxels that are not finite; no affine, or a spacing that no scan has.
    """
    spatial = imported("nibabel.spatialimages", "from_nibabel").SpatialImage
    _check_kind("from_nibabel", image, spatial, "nibabel image with an affine,")
    if image.affine is None:
        raise CosliceError("from_nibabel: an image without an affine was given, so nothing says where it is.")
    header, code, to_mm = image.header, _SCANNER, 1.0
    nifti = hasattr(header, "get_xyzt_units")
    if nifti:
        to_mm, _ = mm_of_unit(header)
        code = int(header["sform_code"]) or (0 if int(header["qform_code"]) else _ALIGNED)
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= to_mm
    volume = _volume("from_nibabel", np.asanyarray(image.dataobj), affine, "take one volume, as image.slicer[..., 0]")
    volume = replace(volume, space_code=code)
    qform, qform_code = qform_of(header, to_mm) if nifti else (None, 0)
    if qform is None:
        return volume
    # The same voxels, turned round in the same way.
    return replace(volume, qform=qform @ np.linalg.inv(affine) @ volume.affine, qform_code=qform_code)


def _stored(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of their own, (i, j, k) in the axis order that the volume came in, and their affine."""
    array, place = in_order(volume, volume.orientation)
    return np.array(array, dtype=np.float32, order="C"), volume.affine @ place


def _volume(who: str, array: np.ndarray, affine: np.ndarray, advice: str) -> Volume:
    """A volume of an image (i, j, k) and its affine to RAS, both checked."""
    shape = array.shape
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or not array.size:
        raise CosliceError(f"{who}: an image of shape {shape} was given, but one 3D volume is needed; {advice}.")
    if array.dtype.kind not in "biuf":
        raise CosliceError(
            f"{who}: voxels of type {array.dtype} were given, but one real number each is needed; choose a component."
        )
    with np.errstate(over="ignore"):  # numbers beyond float32 are infinite then
        voxels = np.array(array, dtype=np.float32)
    wrong = voxels.size - int(np.isfinite(voxels).sum())
    if wrong:
        raise CosliceError(f"{who}: {wrong} voxels are NaN or infinite; replace them by numbers first.")
    check_spacing(np.linalg.norm(affine[:3, :3], axis=0), f"{who}: the image")
    check_place(affine[:3, 3], f"{who}: the image")
    return canonical_volume(voxels, affine)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """An array of a tensor of any type; numpy knows no bfloat16."""
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _without_channel(who: str, array: np.ndarray, advice: str) -> np.ndarray:
    """(i, j, k) of an image with one channel in front, or none."""
    if array.ndim == 4 and array.shape[0] == 1:
        return array[0]
    if array.ndim == 4:
        raise CosliceError(
            f"{who}: an image of shape {array.shape} was given, {array.shape[0]} channels and three axes, but one "
            f"channel is needed; {advice}."
        )
    return array


def _check_kind(who: str, image: object, kind: Any, what: str) -> None:
    if not isinstance(image, kind):
        raise CosliceError(f"{who}: {type(image).__name__} was given, but a {what} is needed.")
