"""Which precision every weight gets: a default, the guards, and a person's rules before both."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gigaedge.bundle import KeptInfo, Precision, Target
from gigaedge.errors import ConfigError, InputError
from gigaedge.validation import first_problem

GUARDS: Final = (
    "vae/*",
    "*/patch_embedding",
    "*/action_encoder.*",
    "*/state_encoder.*",
    "*/action_decoder.*",
    "*condition_embedder.*",
)
"""Places that int8 and int4 leave in the precision of the activations: what enters and leaves the network, and the VAE.

Norms, softmax, rotary tables and the folded time table hold no matrix and are fp32 in every recipe.
"""
TEXT_GUARD: Final = "text/*"
"""int8 and int4 leave it in fp16 everywhere: it runs once per prompt, and half of int8's error came from it."""
CONVOLUTIONS: Final = "vae/"
"""What places begin with that hold no matrix: there is no int8 or int4 of them."""
INTEGERS: Final = ("int8", "int4")


class Rule(BaseModel):
    """Places and their precision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Annotated[str, Field(min_length=1)]
    """A place with the wildcards of a shell, as in `step/layer0[0-3]/*` or `*/attn2.*`."""
    precision: Precision
    """In the VAE, whose convolutions have neither, int8 and int4 mean fp16."""


class RecipeFile(BaseModel):
    """A recipe as a person writes it, YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...]
    """The first that matches wins; what none matches follows `--precision`."""


@dataclass(frozen=True)
class Recipe:
    """Precision per place, for one target."""

    precision: Precision = "fp32"
    target: Target = "cpu"
    rules: tuple[Rule, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    """Places (or whole layers, as `layer07`) that stay fp32 whatever the rules say, with the reason."""

    def __post_init__(self) -> None:
        used = {self.precision, *(rule.precision for rule in self.rules)}
        if self.target == "tensorrt" and "int4" in used:
            raise InputError(
                "int4 is stored as MatMulNBits, which TensorRT does not parse; choose --target cuda or --precision int8"
            )

    @property
    def half(self) -> bool:
        """Whether attention, caches and guarded layers compute in fp16. ONNX Runtime's CPU has no fp16 kernels."""
        return self.precision == "fp16" or (self.precision != "fp32" and self.target != "cpu")

    def of(self, place: str) -> Precision:
        """The precision of the weights at a place."""
        if place in self.kept:
            return "fp32"
        for rule in self.rules:
            if fnmatchcase(place, rule.match):
                quantized = rule.precision in INTEGERS
                return "fp16" if quantized and place.startswith(CONVOLUTIONS) else rule.precision
        if self.precision in INTEGERS:
            if any(fnmatchcase(place, guard) for guard in GUARDS):
                return "fp16" if self.half else "fp32"
            if fnmatchcase(place, TEXT_GUARD):
                return "fp16"
        return self.precision

    def check(self, places: set[str]) -> None:
        """Raise InputError for a rule that no place follows: matching none, only taken ones, or only convolutions."""
        left = places
        for rule in self.rules:
            matched = {place for place in places if fnmatchcase(place, rule.match)}
            if not matched:
                raise InputError(
                    f"recipe rule {rule.match!r} matches nothing; places look like {min(places)} or {max(places)}"
                )
            if not matched & left:
                raise InputError(
                    f"recipe rule {rule.match!r} never applies: the first that matches wins, and the rules before it "
                    "match all its places; put it before them"
                )
            if rule.precision in INTEGERS and all(place.startswith(CONVOLUTIONS) for place in matched):
                raise InputError(
                    f"recipe rule {rule.match!r}: these are convolutions, which have no {rule.precision}; "
                    "choose fp16 or fp32"
                )
            left = left - matched

    def kept_higher(self) -> tuple[KeptInfo, ...]:
        """What the manifest records: rules, guards and places kept for a reason."""
        kept = [KeptInfo(match=rule.match, precision=rule.precision, reason="recipe") for rule in self.rules]
        if self.precision in INTEGERS:
            guarded: Precision = "fp16" if self.half else "fp32"
            kept += [KeptInfo(match=guard, precision=guarded, reason="guard") for guard in GUARDS]
            kept.append(KeptInfo(match=TEXT_GUARD, precision="fp16", reason="guard"))
        kept += [
            KeptInfo(match=place, precision="fp32", reason=reason) for place, reason in self.kept.items()
        ]
        return tuple(kept)


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a recipe file. Raises ConfigError naming the file and the key."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe file")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: expected `rules:`, a list of {{match: PLACE, precision: P}}")
        return RecipeFile.model_validate(data).rules
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error, RecipeFile)}") from error
