"""A text encoder on disk: how an instruction becomes a prompt embedding without PyTorch.

    ENCODER/text_encoder.json   everything a runtime must know; schema 1
    ENCODER/encoder.onnx        token numbers -> hidden states (umT5's encoder)
    ENCODER/encoder.onnx*       its weights, where they are too large for the graph's own file
    ENCODER/tokenizer.json      text -> token numbers, for the `tokenizers` library

It is a folder of its own because one encoder serves many bundles, and a robot with finished prompts needs none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from gigaedge.documents import FileInfo, Part, SourceFile, read_document, verify_files, write_document
from gigaedge.findings import FidelityInfo

SCHEMA: Final = 1
DESCRIPTION: Final = "text_encoder.json"
GRAPH: Final = "encoder.onnx"
TOKENIZER: Final = "tokenizer.json"
MAX_TOKENS: Final = 512
"""Upstream's limit, end token included; the policy was trained with prompts cut there."""

Precision = Literal["fp32", "int8"]


class EncoderSizes(Part):
    """Which network this is."""

    architecture: Literal["umt5"] = "umt5"
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    width: int = Field(ge=1)
    """Values per token of an embedding."""
    vocabulary: int = Field(ge=1)
    parameters: int = Field(ge=1)


class TextEncoderInfo(Part):
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
    """Write text_encoder.json into `folder`, whole or not at all."""
    write_document(folder / DESCRIPTION, info)


def read_description(folder: Path) -> TextEncoderInfo:
    """The description of an exported text encoder, its files unchecked. Raises BundleError."""
    absent = f"no exported text encoder here ({DESCRIPTION} is missing); `gigaedge text-encoder` writes one"
    return read_document(folder / DESCRIPTION, TextEncoderInfo, schema=SCHEMA, absent=absent)


def open_text_encoder(folder: Path) -> TextEncoderInfo:
    """Read the description and verify size and checksum of every file; above 1 GiB the size only.

    Raises BundleError: no text encoder, an unknown schema, a missing, altered or truncated file.
    """
    info = read_description(folder)
    verify_files(folder / DESCRIPTION, info.files())
    return info
