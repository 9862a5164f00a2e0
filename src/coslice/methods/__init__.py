"""Methods of reconstruction: compositions of parts, the papers' among them.

    from coslice.methods import DDS, ConjugateGradients
    mine = replace(DDS, data=ConjugateGradients(iterations=20))

`coslice methods` prints them; `find_method` gives one by name, with its settings for CT or for thick slices.
"""

from coslice.methods.changes import SettingLine, changed, described, differing, setting_lines
from coslice.methods.data_steps import (
    ConjugateGradients,
    DataStep,
    Guidance,
    NullSpace,
    Projecting,
    StackTV,
    TrustedPrediction,
    TVAfterCorrector,
)
from coslice.methods.method import AnyMethod, Direct, Method, Start
from coslice.methods.own import is_own, load_method
from coslice.methods.papers import (
    ADMM_TV,
    CGLS,
    CUBIC,
    DDNM,
    DDS,
    DDS_2D,
    DDS_3D,
    DDS_TV,
    DIFFPIR,
    DIFFUSION_MBIR,
    DIFFUSIONBLEND,
    DIFFUSIONBLEND_PP,
    DPS,
    FBP_UNET,
    FDK,
    KINDS,
    METHODS,
    SIRT,
    TPDM,
    TPDM_CG,
    find_method,
    methods_for,
)
from coslice.methods.prior_parts import USUAL_PRIORS, Patches, Planes, PriorPart, Slices, Windows
from coslice.methods.solutions import (
    AdmmTVSolution,
    AnalyticSolution,
    CglsSolution,
    NetworkSolution,
    SirtSolution,
    Solution,
)
from coslice.settings import kinds_of

__all__ = [
    "ADMM_TV",
    "CGLS",
    "CUBIC",
    "DDNM",
    "DDS",
    "DDS_2D",
    "DDS_3D",
    "DDS_TV",
    "DIFFPIR",
    "DIFFUSIONBLEND",
    "DIFFUSIONBLEND_PP",
    "DIFFUSION_MBIR",
    "DPS",
    "FBP_UNET",
    "FDK",
    "KINDS",
    "METHODS",
    "SIRT",
    "TPDM",
    "TPDM_CG",
    "USUAL_PRIORS",
    "AdmmTVSolution",
    "AnalyticSolution",
    "AnyMethod",
    "CglsSolution",
    "ConjugateGradients",
    "DataStep",
    "Direct",
    "Guidance",
    "Method",
    "NetworkSolution",
    "NullSpace",
    "Patches",
    "Planes",
    "PriorPart",
    "Projecting",
    "SettingLine",
    "SirtSolution",
    "Slices",
    "Solution",
    "StackTV",
    "Start",
    "TVAfterCorrector",
    "TrustedPrediction",
    "Windows",
    "changed",
    "described",
    "differing",
    "find_method",
    "is_own",
    "kinds_of",
    "load_method",
    "methods_for",
    "setting_lines",
]
