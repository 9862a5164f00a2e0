"""Pages and pictures: what a reader sees of a reconstruction."""

from coslice.report.drawing_place import DRAWING_PLACE
from coslice.report.page import write_report
from coslice.report.pictures import error_map, grey, picture, view

__all__ = ["DRAWING_PLACE", "error_map", "grey", "picture", "view", "write_report"]
