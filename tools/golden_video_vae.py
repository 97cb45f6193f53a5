"""Records what diffusers' Wan-2.2 VAE computes: tests/golden/video-vae-tiny.safetensors.

    pip install diffusers==0.35.2
    python tools/golden_video_vae.py

Needs diffusers, which nothing else here does. The weights are those of tests/golden/gwp05-tiny/vae; the clip is
random. fp32, on the CPU.

    clip            (2, 9, 32, 32, 3) u8 RGB
    mean, logvar    (2, 48, 3, 2, 2), of the posterior, not normalised
    drawn           the same shape: latents that no clip made
    reconstruction  (2, 3, 9, 32, 32), of `mean`, -1..1
    decoded         the same shape, of `drawn`
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

from gigaedge_export.video_vae import pixels

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"


def main() -> None:
    """Write the recording."""
    random = torch.Generator().manual_seed(0)
    vae = AutoencoderKLWan.from_pretrained(GOLDEN / "gwp05-tiny" / "vae").eval()
    clip = torch.randint(0, 256, (2, 9, 32, 32, 3), dtype=torch.uint8, generator=random)
    with torch.no_grad():
        posterior = vae.encode(pixels(clip)).latent_dist
        drawn = torch.randn(posterior.mean.shape, generator=random)
        recording = {
            "clip": clip,
            "mean": posterior.mean,
            "logvar": posterior.logvar,
            "drawn": drawn,
            "reconstruction": vae.decode(posterior.mean).sample,
            "decoded": vae.decode(drawn).sample,
        }
    save_file(
        {name: value.contiguous() for name, value in recording.items()}, GOLDEN / "video-vae-tiny.safetensors"
    )


if __name__ == "__main__":
    main()
