"""Is a lesion kept, and is none invented? Known lesions put into a scan, and what a reconstruction makes of them.

    lesions = spread_lesions(scan, seed=0)          places of lung and soft tissue, found by HU and homogeneity
    present = insert(scan, lesions)                 reconstruct both, with the same seeds
    respond(lesion, present_reconstruction, absent_reconstruction, scan)

The difference of the two reconstructions is the response to the lesions alone. `response` measures it for each lesion,
`detection` for an ensemble, and says what is invented where there is no lesion. `regions` measures a real lesion that
a mask or a box outlines. All of it is in the unit of the volumes, HU for CT, and knows no method and no file.
"""

from coslice.lesions.detection import detectability, filter_scores, filtered, invented, npw_detectability
from coslice.lesions.regions import RegionNumbers, measure_region, outlined, rim_of
from coslice.lesions.response import LesionResponse, contrast_recovery, half_width, respond
from coslice.lesions.spheres import Lesion, insert, profile
from coslice.lesions.spreading import LUNG, SOFT_TISSUE, Tissue, near, places, resolvable, spread_lesions

__all__ = [
    "LUNG",
    "SOFT_TISSUE",
    "Lesion",
    "LesionResponse",
    "RegionNumbers",
    "Tissue",
    "contrast_recovery",
    "detectability",
    "filter_scores",
    "filtered",
    "half_width",
    "insert",
    "invented",
    "measure_region",
    "near",
    "npw_detectability",
    "outlined",
    "places",
    "profile",
    "resolvable",
    "respond",
    "rim_of",
    "spread_lesions",
]
