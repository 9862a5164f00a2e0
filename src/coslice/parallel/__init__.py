"""One volume over many processes: the only room that knows ranks.

    with joined() as ranks:                  the processes of torchrun find each other
        result = run(problem, "dds")         each does its share, and all hold the same volume, bit for bit

Every rank holds the whole volume and the whole measurement. What takes long is shared out, and what one rank has made
goes to all others before anybody reads it:

    the prior      by slices, or by patches, of whatever plane
    A              by views
    A^T            by rows y of the volume
    FDK            likewise

A rank makes its part in the order of sums of a single process, so how many ranks there are changes no bit on CPUs of
one kind. Noise is a function of (seed, step), see `coslice.noise`, and needs no message. The sampling loop, methods and
data steps know nothing of all this: `share` and `complete_` are asked where the work is.

shares.py   what this process does of a list of things, and how it gets the rest
ranks.py    the processes: sums and messages
pulse.py    which of them still live
"""

from coslice.parallel.pulse import RankLost
from coslice.parallel.ranks import ALONE, Ranks, company, joined
from coslice.parallel.shares import agree, check_same, complete_, dividing, from_first, share, shares

__all__ = [
    "ALONE",
    "RankLost",
    "Ranks",
    "agree",
    "check_same",
    "company",
    "complete_",
    "dividing",
    "from_first",
    "joined",
    "share",
    "shares",
]
