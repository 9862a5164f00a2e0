"""From what a detector recorded to line integrals: counts, defects, the rotation axis, the noise, the unit of values.

A recording is (views, rows, columns) as it stands in a file (`coslice.io.recordings`). What leaves this room is

    p = -ln((counts - dark) / (flat - dark))        line integrals of attenuation, without unit

with rows along v and columns along u of `coslice.geometry`, and how far every value can be trusted.
"""
