"""Write a random checkpoint of full size, so that anyone can measure an export without the weights.

    python tools/random_checkpoint.py GWP-0 /tmp/gwp0        # 5.0 B weights, bf16 in shards: 10 GB, about a minute

The tensors are drawn and written a shard at a time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from gigaedge.cli.common import stage_progress
from gigaedge_export.random_checkpoint import FULL_SIZE, Sizes, write_random_checkpoint


def main(
    generation: Annotated[Literal["GWP-0", "GWP-0.5"], typer.Argument(help="Which architecture.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    sizes: Annotated[
        Literal["full", "tiny"], typer.Option(help="full: the published widths; tiny: for trying things out.")
    ] = "full",
    layers: Annotated[int, typer.Option(help="Transformer layers; fewer make it smaller.", min=1)] = 30,
    shard_gb: Annotated[float, typer.Option(help="Size of a shard, GB.", min=0.01)] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    decoder: Annotated[
        bool, typer.Option("--decoder", help="With the VAE's decoder, for `gigaedge export --video`.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder when it exists.")] = False,
) -> None:
    """Write a random GigaWorld-Policy checkpoint with the published sizes, or a tiny one."""
    with stage_progress(quiet=False) as report:
        write_random_checkpoint(
            out,
            generation,
            replace(FULL_SIZE if sizes == "full" else Sizes(), layers=layers),
            seed=seed,
            decoder=decoder,
            dtype=torch.bfloat16,
            shard_bytes=int(shard_gb * 1e9),
            replace=force,
            progress=report,
        )


if __name__ == "__main__":
    typer.run(main)
