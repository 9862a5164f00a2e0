"""What the network is shown: every image, noise level and noise a function of (seed, step, item) alone.

`views` are kinds of batches. `slice_stream` draws windows of slices; `pairs` simulates analytic reconstructions of
them, from which `pair_stream` draws. `batches` adds noise, and draws ahead of need.
"""
