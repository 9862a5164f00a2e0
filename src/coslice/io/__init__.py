"""Files in, files out: the only room that knows about axis orders on disk.

Everything read here arrives as a `coslice.volume.Volume` in (z, y, x) and millimetres; everything
written goes back in the axis order it came in, whole or not at all.
"""
