"""The `config.json` of a transformer and of a VAE: every size is read from there, none is assumed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gigaedge.errors import CheckpointError
from gigaedge.validation import first_problem

Count = Annotated[int, Field(ge=1)]
Generation = Literal["GWP-0", "GWP-0.5"]

CLASS_NAMES: dict[str, Generation] = {
    "CasualWorldActionTransformer": "GWP-0",
    "CasualWorldActionTransformer_MoT": "GWP-0.5",
}
"""Upstream class name (spelled so) -> generation."""


class FutureTraining(NamedTuple):
    """How upstream trains a generation's video branch."""

    shift: float
    """Of the future's flow schedule."""
    actions: Literal["clean", "same time"]
    """`same time`: one flow time is drawn for actions and future; `clean`: one for each, so that noisy futures beside
    clean actions are among what the network has seen."""


TRAINED_FUTURE: Final[dict[Generation, FutureTraining]] = {
    "GWP-0": FutureTraining(5.0, "same time"),
    "GWP-0.5": FutureTraining(2.0, "clean"),
}


class _DiffusersConfig(BaseModel):
    # Upstream adds keys that do not change the computation; those that do are checked by value.
    model_config = ConfigDict(extra="ignore", frozen=True)


class TransformerConfig(_DiffusersConfig):
    """Sizes of the world-action transformer, as upstream writes them."""

    class_name: str = Field(alias="_class_name")
    num_layers: Count
    num_attention_heads: Count
    attention_head_dim: Annotated[int, Field(ge=6, multiple_of=2)]
    ffn_dim: Count
    text_dim: Count
    freq_dim: Annotated[int, Field(ge=2, multiple_of=2)]
    in_channels: Count
    out_channels: Count
    patch_size: tuple[Literal[1], Count, Count]
    in_action_channels: Count
    out_action_channels: Count | None = None
    """None is the same as `in_action_channels`."""
    num_embodiments: Count = 4
    action_expert_dim: Count | None = None
    action_ffn_dim: Count | None = None
    eps: Annotated[float, Field(gt=0)] = 1e-6
    rope_max_seq_len: Count = 1024
    cross_attn_norm: Literal[True] = True
    qk_norm: Literal["rms_norm_across_heads"] = "rms_norm_across_heads"
    added_kv_proj_dim: None = None
    image_dim: None = None
    pos_embed_seq_len: None = None

    @model_validator(mode="after")
    def _generation_is_known(self) -> TransformerConfig:
        if self.class_name not in CLASS_NAMES:
            raise ValueError(
                f"_class_name is {self.class_name!r}; expected {' or '.join(map(repr, CLASS_NAMES))}"
            )
        if self.generation == "GWP-0.5" and not (self.action_expert_dim and self.action_ffn_dim):
            raise ValueError("GWP-0.5 needs action_expert_dim and action_ffn_dim")
        if self.out_action_channels not in (None, self.in_action_channels):
            raise ValueError(
                f"in_action_channels {self.in_action_channels} and out_action_channels "
                f"{self.out_action_channels} differ; the sampler needs them equal"
            )
        return self

    @property
    def generation(self) -> Generation:
        """Which of the two architectures this is."""
        return CLASS_NAMES[self.class_name]

    @property
    def width(self) -> int:
        """Width of the (visual) residual stream and of attention."""
        return self.num_attention_heads * self.attention_head_dim


class VaeConfig(_DiffusersConfig):
    """Sizes of the Wan-2.2 VAE, as diffusers writes them."""

    class_name: Literal["AutoencoderKLWan"] = Field(alias="_class_name")
    base_dim: Count
    z_dim: Count
    dim_mult: Annotated[tuple[Count, ...], Field(min_length=1)]
    num_res_blocks: Count
    temperal_downsample: tuple[bool, ...]
    in_channels: Count
    patch_size: Count
    latents_mean: tuple[float, ...]
    latents_std: tuple[Annotated[float, Field(gt=0)], ...]
    is_residual: Literal[True]
    attn_scales: Annotated[tuple[float, ...], Field(max_length=0)] = ()

    @model_validator(mode="after")
    def _lengths_agree(self) -> VaeConfig:
        if self.in_channels != 3 * self.patch_size**2:
            raise ValueError(
                f"in_channels {self.in_channels} is not 3 * patch_size^2 = {3 * self.patch_size**2}"
            )
        for name in ("latents_mean", "latents_std"):
            if len(getattr(self, name)) != self.z_dim:
                raise ValueError(f"{name} has {len(getattr(self, name))} values, z_dim is {self.z_dim}")
        if len(self.temperal_downsample) < len(self.dim_mult) - 1:
            raise ValueError("temperal_downsample is shorter than dim_mult - 1")
        self._check_shortcuts()
        return self

    def _check_shortcuts(self) -> None:
        """A block's shortcut averages whole channels: as many go in, over the frames it joins, as come out, or more."""
        widths = [self.base_dim, *(self.base_dim * m for m in self.dim_mult)]
        for block, (inputs, outputs) in enumerate(pairwise(widths)):
            last = block == len(self.dim_mult) - 1
            frames = 2 if not last and self.temperal_downsample[block] else 1
            if inputs * frames % outputs:
                raise ValueError(
                    f"block {block}: a shortcut averages {inputs} channels x {frames} frames into {outputs}; "
                    "dim_mult does not allow it"
                )

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent cell and side."""
        return int(self.patch_size * 2 ** (len(self.dim_mult) - 1))


Config = TypeVar("Config", bound=BaseModel)


def load_config(path: Path, model: type[Config]) -> Config:
    """Read a diffusers `config.json`. Raises CheckpointError naming the file and the key."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint keeps it beside its weights")
    try:
        return model.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_problem(error, model)}") from error
