"""A text encoder on disk: how an instruction becomes a prompt embedding without PyTorch.

    ENCODER/text_encoder.json   everything a runtime must know; schema 1
    ENCODER/encoder.onnx        token numbers -> hidden states (umT5's encoder)
    ENCODER/encoder.onnx*       its weights, where they are too large for the graph's own file
    ENCODER/tokenizer.json      text -> token numbers, for the `tokenizers` library

It is a folder of its own because one encoder serves many bundles, and a robot with finished prompts needs none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gigaedge.bundle import LAZY_CHECK_BYTES, FidelityInfo, FileInfo, SourceFile
from gigaedge.errors import BundleError
from gigaedge.files import sha256
from gigaedge.validation import first_problem

SCHEMA: Final = 1
DESCRIPTION: Final = "text_encoder.json"
GRAPH: Final = "encoder.onnx"
TOKENIZER: Final = "tokenizer.json"
MAX_TOKENS: Final = 512
"""Upstream's limit, end token included; the policy was trained with prompts cut there."""

Precision = Literal["fp32", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderSizes(_Part):
    """Which network this is."""

    architecture: Literal["umt5"] = "umt5"
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    width: int = Field(ge=1)
    """Values per token of an embedding."""
    vocabulary: int = Field(ge=1)
    parameters: int = Field(ge=1)


class TextEncoderInfo(_Part):
    """text_encoder.json."""

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    gigaedge: str
    """Version that wrote the folder."""
    model: EncoderSizes
    precision: Precision
    """int8: 8-bit weights per channel and activations quantised as they come; embeddings and norms stay fp32."""
    max_tokens: int = Field(ge=2)
    """A longer text is cut to this many tokens, the end token kept."""
    graph: FileInfo
    weights: FileInfo | None
    """None when the graph's own file holds them."""
    tokenizer: FileInfo
    source: tuple[SourceFile, ...]
    fidelity: FidelityInfo
    """This encoder against PyTorch in fp32 on prompts padded to `max_tokens`; a stage is a prompt."""

    def files(self) -> list[FileInfo]:
        """Every file but the description."""
        return [self.graph, self.tokenizer, *([self.weights] if self.weights else [])]


def is_text_encoder(folder: Path) -> bool:
    """Whether `folder` says that it is an exported text encoder."""
    return (folder / DESCRIPTION).is_file()


def write_description(folder: Path, info: TextEncoderInfo) -> None:
    """Write text_encoder.json into `folder`."""
    text = info.model_dump_json(indent=1, by_alias=True)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def open_text_encoder(folder: Path) -> TextEncoderInfo:
    """Read the description and verify size and checksum of every file; above 1 GiB the size only.

    Raises BundleError: no text encoder, an unknown schema, a missing, altered or truncated file.
    """
    info = read_description(folder)
    for part in info.files():
        file = folder / part.file
        if not file.is_file():
            raise BundleError(f"{folder}: {part.file} is missing; copy the text encoder again")
        if file.stat().st_size != part.bytes:
            raise BundleError(
                f"{folder}: {part.file} has {file.stat().st_size} bytes, {DESCRIPTION} says {part.bytes}; "
                "copy it again"
            )
        if part.bytes <= LAZY_CHECK_BYTES and sha256(file) != part.sha256:
            raise BundleError(
                f"{folder}: {part.file} was altered (its SHA-256 is not that of {DESCRIPTION}); "
                "export or copy it again"
            )
    return info


def read_description(folder: Path) -> TextEncoderInfo:
    """The description of an exported text encoder, its files unchecked. Raises BundleError."""
    file = folder / DESCRIPTION
    if not file.is_file():
        raise BundleError(
            f"{folder}: no exported text encoder here ({DESCRIPTION} is missing); "
            "`gigaedge text-encoder` writes one"
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: not valid JSON ({error}); export or copy it again") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            f"{file}: schema {schema!r} is not known to this version (it reads {SCHEMA}); "
            "use the gigaedge version that wrote it, or export again"
        )
    try:
        return TextEncoderInfo.model_validate(data)
    except ValidationError as error:
        raise BundleError(f"{file}: {first_problem(error, TextEncoderInfo)}") from error
