"""Operators A from volumes to measurements, each with its exact transpose."""

from coslice.operators.base import Operator
from coslice.operators.projector import Projector
from coslice.operators.ramped_rays import RampedRays
from coslice.operators.slice_stacks import SliceStack, Stacks
from coslice.operators.thick_slices import ThickSlices
from coslice.operators.weighted_rays import WeightedRays

__all__ = ["Operator", "Projector", "RampedRays", "SliceStack", "Stacks", "ThickSlices", "WeightedRays"]
