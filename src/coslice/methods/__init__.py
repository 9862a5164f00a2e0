"""Methods of reconstruction: compositions of parts, the papers' among them.

    from coslice.methods import DDS, ConjugateGradients
    mine = replace(DDS, data=ConjugateGradients(iterations=20))

`coslice methods` prints them; `find_method` gives one by name, with its settings for CT or for thick slices. All kinds
of noise are imported here, so that a method can be given any of them by its word.
"""

from coslice.correlated_noise import Anchors, Matern, OrnsteinUhlenbeck
from coslice.methods.changes import SettingLine, changed, described, differing, parts_of, setting_lines
from coslice.methods.data_steps import (
    Acting,
    ConjugateGradients,
    DataStep,
    Guidance,
    NullSpace,
    Projecting,
    StackTV,
    TrustedPrediction,
    TVAfterCorrector,
    WeightedGradients,
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
    WDDS,
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
    SuitedSolution,
)
from coslice.mixed_noise import Mixed
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
    "WDDS",
    "Acting",
    "AdmmTVSolution",
    "AnalyticSolution",
    "Anchors",
    "AnyMethod",
    "CglsSolution",
    "ConjugateGradients",
    "DataStep",
    "Direct",
    "Guidance",
    "Matern",
    "Method",
    "Mixed",
    "NetworkSolution",
    "NullSpace",
    "OrnsteinUhlenbeck",
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
    "SuitedSolution",
    "TVAfterCorrector",
    "TrustedPrediction",
    "WeightedGradients",
    "Windows",
    "changed",
    "described",
    "differing",
    "find_method",
    "is_own",
    "kinds_of",
    "load_method",
    "methods_for",
    "parts_of",
    "setting_lines",
]
