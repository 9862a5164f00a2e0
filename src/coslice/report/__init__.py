"""Pages and pictures: what a reader sees of a reconstruction."""

from coslice.report.page import write_report
from coslice.report.pictures import error_map, grey, picture, view

__all__ = ["error_map", "grey", "picture", "view", "write_report"]
