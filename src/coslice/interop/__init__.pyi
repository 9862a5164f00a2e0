from .differentiable_operators import DifferentiableOperator as DifferentiableOperator
from .differentiable_operators import differentiable as differentiable
from .images_elsewhere import from_monai as from_monai
from .images_elsewhere import from_nibabel as from_nibabel
from .images_elsewhere import from_simpleitk as from_simpleitk
from .images_elsewhere import from_torchio as from_torchio
from .images_elsewhere import to_monai as to_monai
from .images_elsewhere import to_nibabel as to_nibabel
from .images_elsewhere import to_simpleitk as to_simpleitk
from .images_elsewhere import to_torchio as to_torchio
from .linear_operators import linear_operator as linear_operator
from .linear_operators import linear_problem as linear_problem
from .operators_from_elsewhere import operator_from as operator_from
from .operators_from_elsewhere import problem_from as problem_from
from .physics import deepinv_physics as deepinv_physics
from .physics import deepinv_problem as deepinv_problem
from .tied_samplers import TiedNoise as TiedNoise
from .tied_samplers import disable_iscs as disable_iscs
from .tied_samplers import enable_iscs as enable_iscs

__all__: list[str]
