"""Folders that a JSON document describes: its schema number, and size and checksum of every other file.

Bundles and text encoders are such folders; what `gigaedge` reads of them is checked here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gigaedge.errors import BundleError
from gigaedge.files import sha256, write_text
from gigaedge.validation import first_problem

LAZY_CHECK_BYTES: Final = 1 << 30
"""A file above this is hashed only on request; its size is always compared."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class Part(BaseModel):
    """A part of a document: unknown keys are errors, and nothing is changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileInfo(Part):
    """A file of the folder."""

    file: FileName
    bytes: int = Field(ge=0)
    sha256: Sha256


class SourceFile(Part):
    """A file that the folder was made from."""

    name: str
    sha256: Sha256


Document = TypeVar("Document", bound=BaseModel)


def describe_file(path: Path) -> dict[str, Any]:
    """The FileInfo fields of a file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def write_document(file: Path, document: BaseModel) -> None:
    """Write a document, whole or not at all."""
    write_text(file, document.model_dump_json(indent=1, by_alias=True) + "\n")


def read_document(file: Path, model: type[Document], *, schema: int, absent: str) -> Document:
    """Read a document; the files it names are not looked at.

    Raises BundleError: not there (`absent` says what that means), no JSON, another schema than `schema`, a wrong key.
    """
    if not file.is_file():
        raise BundleError(f"{file.parent}: {absent}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: not valid JSON ({error}); export or copy it again") from error
    found = data.get("schema") if isinstance(data, dict) else None
    if found != schema:
        raise BundleError(
            f"{file}: schema {found!r} is not known to this version (it reads {schema}); "
            "use the gigaedge version that wrote it, or export again"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BundleError(f"{file}: {first_problem(error, model)}") from error


def verify_files(document: Path, files: Iterable[FileInfo], *, check_large: bool = False) -> None:
    """Compare size and checksum of files with what `document`, beside them, says; large ones only on request.

    Raises BundleError for the first that is missing, truncated or altered.
    """
    folder = document.parent
    for info in files:
        file = folder / info.file
        if not file.is_file():
            raise BundleError(f"{folder}: {info.file} is missing; copy the folder again")
        size = file.stat().st_size
        if size != info.bytes:
            raise BundleError(
                f"{folder}: {info.file} has {size} bytes, {document.name} says {info.bytes}; copy it again"
            )
        if (check_large or size <= LAZY_CHECK_BYTES) and sha256(file) != info.sha256:
            raise BundleError(
                f"{folder}: {info.file} was altered (its SHA-256 is not that of {document.name}); "
                "export or copy it again"
            )
