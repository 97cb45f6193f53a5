"""`gigaedge prompt ...` and `gigaedge text-encoder`: the prompts of a bundle, and what turns text into them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gigaedge.cli.common import (
    BundleArgument,
    ForceOption,
    JsonOption,
    needs,
    print_json,
    print_notices,
    print_table,
    progress,
)
from gigaedge.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gigaedge.prompts import Prompt

app = typer.Typer(no_args_is_help=True, help="The prompts of a bundle: list, add, remove.")

EMBEDDING_SUFFIXES = (".pt", ".safetensors")
EXPORT_STEPS = 6
"""Lines of progress an export of a text encoder reports."""

NameArgument = Annotated[str, typer.Argument(help="Name of the prompt.", show_default=False)]


def register(root: typer.Typer) -> None:
    """Add this module's commands."""
    root.command(
        "text-encoder",
        epilog="Example: `gigaedge text-encoder --checkpoint Wan2.2-TI2V-5B-Diffusers --out encoder`",
    )(text_encoder_command)
    root.add_typer(app, name="prompt")


@app.callback()
def _group() -> None:
    """The prompts of a bundle: list, add, remove."""


@app.command("list", epilog="Example: `gigaedge prompt list bundle`")
def list_command(bundle: BundleArgument, json: JsonOption = False) -> None:
    """List a bundle's prompts; the first is what the policy starts with."""
    from gigaedge.bundle import open_bundle
    from gigaedge.prompts import read_prompts

    prompts = read_prompts(open_bundle(bundle))
    if json:
        print_json(
            {"bundle": str(bundle), "prompts": [_row(name, prompt) for name, prompt in prompts.items()]}
        )
        return
    rows = [
        [name, str(prompt.tokens), prompt.source.text if prompt.source else "-"]
        for name, prompt in prompts.items()
    ]
    print_table(str(bundle), ["name", "tokens", "text"], rows)


@app.command(
    "add", epilog='Example: `gigaedge prompt add bundle towel "fold the towel" --text-encoder encoder`'
)
def add_command(
    bundle: BundleArgument,
    name: NameArgument,
    text: Annotated[str | None, typer.Argument(help="What the robot should do.", show_default=False)] = None,
    text_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Folder written by `gigaedge text-encoder`; or one with text_encoder/ and tokenizer/, "
            "which is exported first (extra `text`).",
            show_default=False,
        ),
    ] = None,
    embedding: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a text: a .safetensors, or a .pt where torch is installed.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a prompt of the same name.")] = False,
    json: JsonOption = False,
) -> None:
    """Add a prompt to a bundle: a text, embedded here, or an embedding made elsewhere."""
    from gigaedge.bundle import read_manifest
    from gigaedge.prompts import Prompt, add_prompts, expect_free, fit

    manifest = read_manifest(bundle)
    expect_free(manifest, name, replace=force)
    length, width = manifest.prompts.length, manifest.prompts.width
    if text is not None and text_encoder is not None and embedding is None:
        prompt = embed_texts({name: text}, text_encoder, length=length, width=width)[name]
    elif embedding is not None and text is None and text_encoder is None:
        fitted, notice = fit(_read_embedding(embedding), embedding, length=length, width=width)
        print_notices([notice] if notice else [])
        prompt = Prompt(fitted)
    else:
        raise InputError("prompt add needs either a text and --text-encoder DIR, or --embedding FILE")
    add_prompts(bundle, {name: prompt}, replace=force)
    if json:
        print_json({"bundle": str(bundle), **_row(name, prompt)})
    else:
        typer.echo(f"{bundle}: prompt {name!r}, {prompt.tokens} tokens")


@app.command("remove", epilog="Example: `gigaedge prompt remove bundle towel`")
def remove_command(bundle: BundleArgument, name: NameArgument, json: JsonOption = False) -> None:
    """Remove a prompt from a bundle; the last one stays."""
    from gigaedge.bundle import read_manifest
    from gigaedge.prompts import remove_prompt

    remove_prompt(bundle, name)
    left = read_manifest(bundle).prompts.names
    if json:
        print_json({"bundle": str(bundle), "removed": name, "prompts": list(left)})
    else:
        typer.echo(f"{bundle}: removed {name!r}; it has {', '.join(left)}")


def text_encoder_command(
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Folder with text_encoder/ and tokenizer/, or with a umT5 encoder and its tokenizer.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Encoder folder to write.", show_default=False)],
    precision: Annotated[
        Literal["int8", "fp32"], typer.Option(help="Storage of the weights; int8 multiplies in 8 bits too.")
    ] = "int8",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Export a umT5 text encoder to ONNX with optimum, so that a robot embeds prompts without PyTorch.

    Runs on a workstation and holds the model several times over: memory of about 2.4 times the fp32 weights for
    --precision fp32, 5.4 times for int8. For umT5-xxl (23 GB) that is about 55 GB and 125 GB. Needs the extra `text`.
    """
    with needs("text,cpu"):
        from gigaedge_export.text_encoder import export_text_encoder
    with progress(EXPORT_STEPS, quiet=json) as begin:
        info = export_text_encoder(checkpoint, out, precision=precision, replace=force, progress=begin)
    if json:
        print_json({"text_encoder": str(out), **info.model_dump(mode="json", by_alias=True)})
        return
    size = sum(file.bytes for file in info.files()) / 1e6
    error = max(row.relative_l2 for row in info.fidelity.stages)
    typer.echo(
        f"{out}: {info.model.architecture}, {info.model.parameters / 1e6:.2f} M weights, {info.precision}, "
        f"{size:.1f} MB; verified against PyTorch: relative L2 {error:.1e} at most"
    )


def embed_texts(texts: Mapping[str, str], encoder: Path, *, length: int, width: int) -> dict[str, Prompt]:
    """Embed texts by name and fit them to (length, width); what had to be cut is said on stderr.

    `encoder` is an exported folder or a transformers checkpoint, which is exported for the time of the call.
    """
    with needs("robot,cpu"):
        from gigaedge_runtime.text import TextEncoder

    from gigaedge.bundle import PromptText
    from gigaedge.prompts import Prompt, fit
    from gigaedge.text_encoder import read_description

    with _exported(encoder) as folder:
        found = read_description(folder).model.width
        if found != width:
            raise InputError(
                f"{encoder}: its embeddings are {found} wide, the policy's prompts {width}; "
                "use the text encoder the policy was trained with"
            )
        loaded = TextEncoder.load(folder)
        prompts: dict[str, Prompt] = {}
        notices: list[str] = []
        for name, text in texts.items():
            states = loaded.embed(text, notices.append)
            fitted, notice = fit(states, f"prompt {name!r}", length=length, width=width)
            notices += [notice] if notice else []
            prompts[name] = Prompt(fitted, PromptText(text=text, encoder=loaded.sha256))
    print_notices(notices)
    return prompts


@contextmanager
def _exported(folder: Path) -> Iterator[Path]:
    """An exported encoder: `folder`, or one made from the checkpoint in it that goes with the block."""
    from gigaedge.text_encoder import is_text_encoder

    if is_text_encoder(folder):
        yield folder
        return
    if not any((folder / name).is_file() for name in ("config.json", "text_encoder/config.json")):
        raise InputError(
            f"{folder}: no text encoder here; pass a folder that `gigaedge text-encoder` wrote, "
            "or one with text_encoder/ and tokenizer/"
        )
    with needs("text,robot,cpu"):
        from gigaedge_export.text_encoder import export_text_encoder
    print_notices([f"{folder}: exporting it for this call; `gigaedge text-encoder` does it once and for all"])
    with tempfile.TemporaryDirectory(prefix="gigaedge-") as temporary:
        out = Path(temporary) / "encoder"
        export_text_encoder(folder, out, precision="fp32")
        yield out


def _read_embedding(path: Path) -> NDArray[np.float32]:
    from gigaedge.prompts import read_embedding

    if path.suffix == ".safetensors":
        return read_embedding(path)
    with needs("export"):
        from gigaedge_export.prompts import read_pickled
    return read_pickled(path)


def _row(name: str, prompt: Prompt) -> dict[str, object]:
    source = prompt.source
    return {
        "name": name,
        "tokens": prompt.tokens,
        "text": source.text if source else None,
        "encoder": source.encoder if source else None,
    }
