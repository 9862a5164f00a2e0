"""Networks: our own compact U-Net, and the two published architectures that priors are brought in.

`NETWORKS` is how files name them: name -> (config class, module class). A config is a frozen dataclass with `to_dict`,
`from_dict` and `stride`; the module is built from it and keeps it as `.config`.
"""

from coslice.networks.guided_diffusion import GuidedUNet, GuidedUNetConfig
from coslice.networks.ncsnpp import NCSNpp, NCSNppConfig
from coslice.networks.unet import UNet, UNetConfig

__all__ = ["NETWORKS", "GuidedUNet", "GuidedUNetConfig", "NCSNpp", "NCSNppConfig", "UNet", "UNetConfig"]

NETWORKS = {
    "unet": (UNetConfig, UNet),
    "ncsnpp": (NCSNppConfig, NCSNpp),
    "guided-diffusion": (GuidedUNetConfig, GuidedUNet),
}
