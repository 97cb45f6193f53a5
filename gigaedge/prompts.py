"""The prompts of a bundle: read embeddings, add and remove them.

A bundle is edited in three steps that leave it whole in between: the new embeddings are written under a name of
their own, the manifest that names them replaces the old one, and only then is the old file removed. A break between
two steps leaves at most a file that nothing names, which the next edit removes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import (
    Bundle,
    Manifest,
    PromptText,
    edit_lock,
    open_bundle,
    update_manifest,
    write_manifest,
)
from gigaedge.documents import describe_file
from gigaedge.errors import BundleError, CheckpointError
from gigaedge.files import atomic_file, read_tensors

KEYS: Final = ("prompt_embeds", "t5_embedding")
"""Names of an embedding in a file."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as a bundle keeps it."""

    embedding: NDArray[np.float32]
    """Cut or zero-padded to the bundle's length, (length, width)."""
    source: PromptText | None = None
    """Of a prompt that was made of a text."""

    @property
    def tokens(self) -> int:
        """Tokens up to the zeros at the end."""
        return int(np.flatnonzero(self.embedding.any(axis=1)).max(initial=-1)) + 1


def read_prompts(bundle: Bundle) -> dict[str, Prompt]:
    """Every prompt of an opened bundle, in order. Raises BundleError: one that the manifest names is missing."""
    info = bundle.manifest.prompts
    tensors = read_tensors(bundle.file(info))
    absent = [name for name in info.names if name not in tensors]
    if absent:
        raise BundleError(f"{bundle.file(info)}: prompt {absent[0]!r} is missing; export the bundle again")
    return {name: Prompt(tensors[name], info.texts.get(name)) for name in info.names}


def add_prompts(bundle: Path, prompts: Mapping[str, Prompt], *, replace: bool = False) -> None:
    """Add prompts to a bundle, behind those it has; with `replace`, in place of those of the same name.

    Raises BundleError when the bundle is damaged, has such a prompt already or expects another shape.
    """
    with _edited(bundle) as (manifest, kept):
        for name, prompt in prompts.items():
            expect_free(manifest, name, replace=replace)
            expected = (manifest.prompts.length, manifest.prompts.width)
            if prompt.embedding.shape != expected:
                raise BundleError(f"prompt {name!r}: expected {expected}, got {prompt.embedding.shape}")
            kept[name] = prompt


def remove_prompt(bundle: Path, name: str) -> None:
    """Remove a prompt. Raises BundleError when there is none of that name, or no other."""
    with _edited(bundle) as (_, kept):
        if name not in kept:
            raise BundleError(f"{bundle}: no prompt {name!r} in the bundle; it has {', '.join(kept)}")
        if len(kept) == 1:
            raise BundleError(
                f"{bundle}: {name!r} is its only prompt, and a bundle needs one; add another first"
            )
        del kept[name]


def record_texts(bundle: Path, texts: Mapping[str, PromptText]) -> None:
    """Note in the manifest which texts prompts of the bundle were made of."""

    def record(manifest: Manifest) -> Manifest:
        known = {**manifest.prompts.texts, **texts}
        return manifest.model_copy(update={"prompts": manifest.prompts.model_copy(update={"texts": known})})

    update_manifest(bundle, record)


def expect_free(manifest: Manifest, name: str, *, replace: bool) -> None:
    """Raise BundleError when the name is taken and not to be replaced."""
    if name in manifest.prompts.names and not replace:
        raise BundleError(f"the bundle has a prompt {name!r} already; choose another name, or pass --force")


def read_embedding(path: Path) -> NDArray[np.float32]:
    """An embedding made upstream, from a .safetensors file: (tokens, width) or (1, tokens, width).

    Raises CheckpointError naming the file when it has no floating point tensor under one of `KEYS`.
    """
    from safetensors import SafetensorError, deserialize

    if not path.is_file():
        raise missing(path)
    try:
        tensors: dict[str, dict[str, Any]] = dict(deserialize(path.read_bytes()))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable embedding ({error})") from error
    key = pick(path, tensors)
    kind, shape, data = (tensors[key][name] for name in ("dtype", "shape", "data"))
    if kind not in _FLOATS:
        raise CheckpointError(f"{path}: expected floating point, got {kind} {tuple(shape)}")
    values: NDArray[Any] = np.frombuffer(data, _FLOATS[kind]).reshape(shape)
    if kind == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""How numpy reads them; it has no bf16, which is the upper half of a float32."""


def missing(path: Path) -> CheckpointError:
    """The error of an embedding file that is not there."""
    return CheckpointError(
        f"prompt embedding {path}: no such file; pass a .pt or .safetensors of umT5 embeddings, "
        "or a text together with --text-encoder DIR"
    )


def pick(path: Path, tensors: Mapping[str, object]) -> str:
    """The key of the embedding in a file. Raises CheckpointError."""
    for key in KEYS:
        if key in tensors:
            return key
    found = ", ".join(map(str, tensors)) or "nothing"
    raise CheckpointError(f"{path}: expected the key {' or '.join(KEYS)}; found {found}")


def fit(
    embedding: NDArray[np.float32], origin: object, *, length: int, width: int
) -> tuple[NDArray[np.float32], str | None]:
    """Cut or zero-pad an embedding to (length, width), and a notice when it had to be cut.

    Accepts (tokens, width) or (1, tokens, width). Upstream cuts and pads in the same way; the padding is not masked
    out. `origin` names the embedding in messages.
    """
    tokens = embedding[0] if embedding.ndim == 3 and embedding.shape[0] == 1 else embedding
    if tokens.ndim != 2:
        raise CheckpointError(f"{origin}: expected floating point (tokens, {width}); got {embedding.shape}")
    if tokens.shape[1] != width:
        raise CheckpointError(
            f"{origin}: embedding is {tokens.shape[1]} wide, the policy's text_dim is {width}; "
            "use the text encoder the policy was trained with"
        )
    if not np.isfinite(tokens).all():
        raise CheckpointError(f"{origin}: embedding has NaN or infinite values; compute it again")
    fitted = np.zeros((length, width), np.float32)
    fitted[: len(tokens)] = tokens[:length]
    return fitted, f"{origin}: {len(tokens)} tokens cut to {length}" if len(tokens) > length else None


@contextmanager
def _edited(bundle: Path) -> Iterator[tuple[Manifest, dict[str, Prompt]]]:
    """Yield manifest and prompts; what the block leaves in the prompts is written."""
    from safetensors.numpy import save

    with edit_lock(bundle):
        opened = open_bundle(bundle)
        prompts = read_prompts(opened)
        yield opened.manifest, prompts
        content = save({name: np.ascontiguousarray(prompt.embedding) for name, prompt in prompts.items()})
        file = bundle / f"prompts-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
        with atomic_file(file) as temporary:
            temporary.write_bytes(content)
        info = opened.manifest.prompts.model_copy(
            update={
                **describe_file(file),
                "names": tuple(prompts),
                "texts": {name: prompt.source for name, prompt in prompts.items() if prompt.source},
            }
        )
        write_manifest(bundle, opened.manifest.model_copy(update={"prompts": info}))
        for other in bundle.glob("prompts*.safetensors"):
            if other.name != info.file:
                other.unlink()
