"""How a number was taken: what PSNR and SSIM of the same two volumes depend on, as each publication has it.

                      unit           iscs                tpdm              diffusionblend
    data range        1              max - min of truth  1                 1
    SSIM's window     7 x 7 box      Gaussian, 11 x 11   Gaussian, 11 x 11 7 x 7 box
    beyond 0..1       as handed over as handed over      clipped           clipped
    slices            not constant   range above 1e-6    all               not constant
    PSNR              mean of slices mean of slices      all slices as one mean of slices
    LPIPS of          2 x - 1        2 x / range - 1     2 x - 1           2 x - 1

                      dm4ct          dm4ct-rocks
    data range        1              max - min of each slice of the truth
    SSIM's window     7 x 7 box      7 x 7 box
    SSIM of           2 x - 1        x, as in all others
    beyond 0..1       as handed over as handed over
    slices            all            not constant
    PSNR              mean of slices mean of slices
    LPIPS of          2 x - 1        2 x / range - 1

`unit` is ours and the default. A larger range is a larger PSNR: max - min is at most 1, so `iscs` is never above `unit`
in PSNR, by 20 log10 (max - min) dB. Neither PSNR nor LPIPS sees an offset, but SSIM does, which compares means by their
size: the same images have another SSIM from -1 to 1 with range 2 than from 0 to 1 with range 1. Slice differences (eqs.
18 and 19) are the same in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["PROTOCOLS", "UNIT", "Protocol", "protocol_called"]


@dataclass(frozen=True)
class Protocol:
    """One way to take PSNR, SSIM and LPIPS of volumes in the unit window.

    Attributes:
        name: as `--protocol` and recipes say it.
        source: whose it is.
        range_of_truth: whether the data range is max - min of the whole truth, not 1.
        range_of_slice: whether it is max - min of the truth of each slice, whatever plane the slice is of.
        signed: whether SSIM is of images from -1 to 1, with twice the range.
        ssim_window: "box" or "gaussian", see `coslice.metrics.ssim`.
        outside: what becomes of values outside 0..1: "as given", they are measured as they are handed over, which from
            a run or from `coslice evaluate` is clipped; "counted", the same, and `coslice evaluate` clips the truth
            only; "clipped", both volumes are clipped first.
        variation: slices count whose truth has max - min above it; None counts all slices.
        one_stack: whether PSNR is of all slices at once, not the mean of theirs.
    """

    name: str
    source: str
    range_of_truth: bool = False
    range_of_slice: bool = False
    signed: bool = False
    ssim_window: Literal["box", "gaussian"] = "box"
    outside: Literal["as given", "counted", "clipped"] = "as given"
    variation: float | None = 0.0
    one_stack: bool = False

    @property
    def sentence(self) -> str:
        """What a reader of a table must know of it."""
        own = "max - min of each slice" if self.range_of_slice else "max - min of each truth"
        parts = [
            f"data range {own if self.range_of_slice or self.range_of_truth else 1}",
            ("SSIM of -1..1" if self.signed else "SSIM")
            + (" in a Gaussian window of 11 x 11" if self.ssim_window == "gaussian" else " in a box of 7 x 7"),
            *(["values clipped to 0..1"] if self.outside == "clipped" else []),
            *(["all slices" + (", PSNR of all at once" if self.one_stack else "")] if self.variation is None else []),
        ]
        return f"Protocol {self.name}: {', '.join(parts)} ({self.source})."

    def data_range(self, truth: Tensor) -> float:
        """What PSNR and SSIM take for the distance of black and white, in units of the window; `truth` is (z, y, x).

        Where every slice has its own it is that of the whole truth, which no slice exceeds; see `ranges`.

        Raises:
            CosliceError: a constant truth, where the range is the truth's own.
        """
        if not (self.range_of_truth or self.range_of_slice):
            return 1.0
        low, high = (float(self.seen(end)) for end in truth.aminmax())
        if low == high:
            raise CosliceError(
                f"protocol {self.name}: every voxel of the truth is {low:g}, but its range is the data range; check "
                "that it is the right volume."
            )
        return high - low

    def ranges(self, truth: Tensor, of_all: float) -> float | Tensor:
        """The data range of images (n, h, w) of a truth whose `data_range` is `of_all`: that, or (n,), their own."""
        return truth.amax((1, 2)) - truth.amin((1, 2)) if self.range_of_slice else of_all

    def seen(self, volume: Tensor) -> Tensor:
        """A volume as it is measured: clipped, or as it is."""
        return volume.clamp(0, 1) if self.outside == "clipped" else volume

    def counted(self, truth: Tensor) -> Tensor:
        """Numbers of the slices that count, of images (n, h, w) as they are handed over."""
        if self.variation is None:
            return torch.arange(len(truth), device=truth.device)
        return torch.nonzero(self.seen(truth.amax((1, 2))) - self.seen(truth.amin((1, 2))) > self.variation).flatten()


UNIT = Protocol("unit", "coslice's own")
"""Ours: 1 is the width of the window, SSIM as scikit-image computes it by default."""

ISCS = Protocol(
    "iscs",
    "Du et al., ICLR 2026, the code's `compute_slice_metrics_optimized`",
    range_of_truth=True,
    ssim_window="gaussian",
    outside="counted",
    variation=1e-6,
)
"""As `recon_CBCT.py` and `recon_MRI_ZSR.py` of ISCS print it: torchmetrics, with the range of the whole truth.

Known: all of it but LPIPS, whose images the code scales as above, while neither script hands it a network; which one
the paper's LPIPS is of is not said, ours is AlexNet's. The scripts measure what the sampler gives, unclipped.
"""

TPDM = Protocol(
    "tpdm",
    "Lee et al., ICCV 2023, the code's `eval_recon_result`",
    ssim_window="gaussian",
    outside="clipped",
    variation=None,
    one_stack=True,
)
"""As TPDM's `eval_recon_result` has it: torchmetrics on whole stacks, so that PSNR is the same in every plane.

Known: all of it; its code has no LPIPS, which is taken here as in `unit`, of all slices.
"""

DIFFUSIONBLEND = Protocol(
    "diffusionblend",
    "Song et al., NeurIPS 2024; no evaluation code is released, partly assumed",
    outside="clipped",
)
"""What is known of DiffusionBlend's: its scripts import scikit-image's PSNR and SSIM, and never call them.

Known: images in [0, 1], averages over slices (Table 10 has their deviations), scikit-image. Assumed: its SSIM with its
usual 7 x 7 box and with range 1 (older releases took 2 for floats where nothing was said, which gives more),
clipping, and that constant slices were left out, which have an infinite PSNR where they are met. Of volumes that lie in
0..1, as coslice's do, it is the same as `unit`.
"""

DM4CT = Protocol(
    "dm4ct",
    "Shi et al., ICLR 2026, the code's `eval_compute_metrics.py`",
    signed=True,
    outside="counted",
    variation=None,
)
"""As DM4CT measures its medical and industrial slices: scikit-image, images from -1 to 1, range 2; the PSNR of `unit`.

Known: all of it but LPIPS, which it has not. Its window is not ours: it goes from the lowest to the highest value of
all patients, and the same error in HU is a smaller one in a wider window. Its code clips FBP and SIRT, nothing else.
"""

DM4CT_ROCKS = Protocol(
    "dm4ct-rocks",
    "Shi et al., ICLR 2026, the code's `eval_compute_metrics.py`, for its synchrotron scans",
    range_of_slice=True,
    outside="counted",
)
"""As DM4CT measures its synchrotron slices, whose values have no window: the range is that of each slice's truth.

Known: all of it but LPIPS, which it has not. Its images are attenuation, scaled, with air near 0: a window of 0:HIGH
has the same SSIM. A constant slice, for which its code has no number, is left out.
"""

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol for protocol in (UNIT, ISCS, TPDM, DIFFUSIONBLEND, DM4CT, DM4CT_ROCKS)
}
"""All of them by name."""


def protocol_called(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        CosliceError: another name.
    """
    if name not in PROTOCOLS:
        raise CosliceError(f'protocol: "{name}" was given, but there are {", ".join(PROTOCOLS)}; choose one of them.')
    return PROTOCOLS[name]
