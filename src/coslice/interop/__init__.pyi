from .tied_samplers import TiedNoise as TiedNoise
from .tied_samplers import disable_iscs as disable_iscs
from .tied_samplers import enable_iscs as enable_iscs

__all__: list[str]
