"""DICOM: many files, one series, one volume; and a volume back as a derived series.

Every slice says where its first pixel's centre is, p (mm, towards the patient's left, posterior and
superior: LPS), and along which unit vectors r and c its columns and rows are counted, d_c and d_r mm apart. With the
slices sorted by p . (r x c), pixel (i, j) of slice k sits at

    p_k + i d_c r + j d_r c,        p_k = p_0 + k s,        s = (p_last - p_0)/(n - 1),

so (d_c r, d_r c, s, p_0) are the columns of the affine. s need not be parallel to r x c: a tilted gantry
shears the volume (`upright`). NIfTI and coslice count towards right and anterior, hence diag(-1, -1, 1) in front of
it. Stored numbers become HU by v = slope * stored + intercept, slice by slice.

Nothing is guessed. Slices that are missing, uneven, double, or of another size make a volume that is wrong in mm, so
they are refused; where several stacks share one series (echoes, phases, passes), each is listed for itself.
Localisers and objects that are no images (reports, plans, segmentations) are passed over.

Reading goes files -> `headers` (one file's slices) -> `dicom_stacks` (slices that make a grid) -> `series` (what
there is to choose from) -> `dicom_scan` (the voxels, by `stored_pixels`). Writing: `carried` (which words of the source
may go along) -> `derived`.
"""

from coslice.io.dicom.derived import write_dicom
from coslice.io.dicom.dicom_scan import DicomScan, open_dicom, read_dicom
from coslice.io.dicom.headers import SliceHeader, is_dicom
from coslice.io.dicom.series import Series, choose_series, dicom_series, find_series
from coslice.io.dicom.upright import upright

__all__ = [
    "DicomScan",
    "Series",
    "SliceHeader",
    "choose_series",
    "dicom_series",
    "find_series",
    "is_dicom",
    "open_dicom",
    "read_dicom",
    "upright",
    "write_dicom",
]
