"""Files in, files out: the only room that knows about axis orders on disk.

Every scan arrives as a `coslice.volume.Volume` in (z, y, x) and millimetres, and goes back in the axis order it
came in, whole or not at all. Measured projections arrive as a `Recording`, (views, rows, columns).
Weights of networks arrive as they were written, packed or not.
"""
