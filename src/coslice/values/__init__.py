"""What the numbers of a scan are: read from the numbers (`intensities`), said by the user (`statements`), and settled.

reading_of     what numbers look like: HU, HU + 1024, 0..1, attenuation, MR, a mask
parse_values   what the user says they are: hu, hu+1024, 0:1=-1000:1600, mu/cm:0.193, any
comparable     two volumes in one unit, and the window that they are compared in, where it fits them
brightness_of  how bright its images are, in the unit window, in numbers that a prior's card has too
remarks_on_appearance, remarks_on_resemblance    whether a scan looks like one, and like its truth
settle         a scan in the unit that its task needs, with a sentence for what was done; or a refusal
"""

from coslice.values.appearance import remarks_on_appearance
from coslice.values.brightness import Brightness, brightness_of, spans
from coslice.values.comparison import Comparison, comparable
from coslice.values.intensities import Intensities, reading_of
from coslice.values.resemblance import remarks_on_resemblance
from coslice.values.settling import Settled, remarks_for_scan, settle
from coslice.values.statements import Values, parse_values

__all__ = [
    "Brightness",
    "Comparison",
    "Intensities",
    "Settled",
    "Values",
    "brightness_of",
    "comparable",
    "parse_values",
    "reading_of",
    "remarks_for_scan",
    "remarks_on_appearance",
    "remarks_on_resemblance",
    "settle",
    "spans",
]
