"""What a real scanner gives of a known object: counts, with all that is not ideal, to test what measured data pass.

spectra     the energies of a tube, and how materials weaken them
phantoms    voxels finer than a scan's, or ellipsoids, as water, bone and iron along rays
exposure    counts, open-beam and dark frames
"""

from coslice.xray.exposure import Exposure, XrayScanner, simulate_counts
from coslice.xray.phantoms import Ellipsoid, Ellipsoids, FineVoxels, XrayObject
from coslice.xray.spectra import SingleEnergy, Spectrum, TubeSpectrum

__all__ = [
    "Ellipsoid",
    "Ellipsoids",
    "Exposure",
    "FineVoxels",
    "SingleEnergy",
    "Spectrum",
    "TubeSpectrum",
    "XrayObject",
    "XrayScanner",
    "simulate_counts",
]
