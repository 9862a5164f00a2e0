"""Networks: our own compact U-Net, and the two published architectures that priors are brought in.

`NETWORKS` is how files name them: name -> (config class, module class). A config is a frozen dataclass with `to_dict`,
`from_dict` and `stride`; the module is built from it and keeps it as `.config`.
"""

from coslice.networks.guided_config import GuidedUNetConfig
from coslice.networks.guided_diffusion import GuidedUNet
from coslice.networks.ncsnpp import NCSNpp
from coslice.networks.ncsnpp_config import NCSNppConfig, NoiseTable, Pyramids
from coslice.networks.unet import UNet, UNetConfig

__all__ = [
    "NETWORKS",
    "GuidedUNet",
    "GuidedUNetConfig",
    "NCSNpp",
    "NCSNppConfig",
    "NoiseTable",
    "Pyramids",
    "UNet",
    "UNetConfig",
]

NETWORKS = {
    "unet": (UNetConfig, UNet),
    "ncsnpp": (NCSNppConfig, NCSNpp),
    "guided-diffusion": (GuidedUNetConfig, GuidedUNet),
}
"""How files name the networks: name -> (class of its config, class of the module)."""
