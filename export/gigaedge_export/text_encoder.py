"""A umT5 text encoder from its transformers folder to ONNX, traced and quantised by optimum.

Both hold the whole model in memory, several times over: measured on 2.2 GB of fp32 weights, the peak was 2.4 times
their size for fp32 and 5.4 times for int8. umT5-xxl, the encoder of upstream, has 5.7 billion parameters, 23 GB in
fp32: by that measure about 55 GB for fp32 and 125 GB for int8. It has not been tried here.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from optimum.exporters.onnx import export as trace
from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
from optimum.utils import NormalizedTextConfig
from pydantic import BaseModel, ConfigDict, PositiveInt
from tokenizers import Tokenizer
from transformers import PretrainedConfig, UMT5EncoderModel

import gigaedge
from gigaedge.documents import FileInfo, SourceFile, describe_file
from gigaedge.errors import CheckFailedError, CheckpointError
from gigaedge.fidelity import TOLERANCE, compare, summary
from gigaedge.files import atomic_directory, sha256
from gigaedge.text_encoder import (
    DESCRIPTION,
    GRAPH,
    MAX_TOKENS,
    TOKENIZER,
    EncoderSizes,
    Precision,
    TextEncoderInfo,
    write_description,
)
from gigaedge_export.config import load_config

OPSET: Final = 20
"""The newest that the exporter below optimum writes."""
TOLERANCES: Final[dict[Precision, float]] = {"fp32": TOLERANCE, "int8": 0.2}
"""Largest relative L2 against PyTorch that is written. int8 of random weights: 0.03 with 3 layers, 0.07 with 24."""
PROMPTS: Final = (
    "Fold the towel.",
    "Pick up the red block with the left arm and put it into the bowl.",
    "Open the drawer with the right hand, take out the bowl, put it on the plate, then close the drawer again "
    "and bring both arms back to where they started.",
)
"""What the fidelity is measured on."""
Progress = Callable[[str], None]
"""Called with what begins now."""


class Umt5Config(BaseModel):
    """The part of a umT5 `config.json` that an export depends on."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_type: Literal["umt5"]
    d_model: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    vocab_size: PositiveInt
    eos_token_id: int = 1


class Umt5EncoderOnnxConfig(TextEncoderOnnxConfig):  # type: ignore[misc]
    """What optimum must know to trace umT5's encoder, which is not among the models it lists."""

    NORMALIZED_CONFIG_CLASS: ClassVar = NormalizedTextConfig.with_args(
        hidden_size="d_model", num_layers="num_layers", num_attention_heads="num_heads", allow_new=True
    )

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Token numbers and the mask of those that count, int64 (batch, tokens)."""
        return {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask")}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Hidden states, float32 (batch, tokens, width)."""
        return {"last_hidden_state": {0: "batch", 1: "tokens"}}


@dataclass(frozen=True)
class EncoderFiles:
    """The files of a text encoder as transformers writes them."""

    model: Path
    """Folder with `config.json` and safetensors weights."""
    weights: tuple[Path, ...]
    tokenizer: Path
    """`tokenizer.json`, or `spiece.model` where that is all there is."""

    @classmethod
    def find(cls, folder: Path) -> EncoderFiles:
        """Look into `folder`/text_encoder and `folder`/tokenizer, as diffusers lays them out, or into `folder` itself.

        Raises CheckpointError naming the file that is missing.
        """
        split = (folder / "text_encoder").is_dir()
        model = folder / "text_encoder" if split else folder
        words = folder / "tokenizer" if split else folder
        weights = sorted(model.glob("*.safetensors"))
        tokenizer = next(
            (words / name for name in (TOKENIZER, "spiece.model") if (words / name).is_file()), None
        )
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder; it should hold text_encoder/ and tokenizer/")
        if not (model / "config.json").is_file():
            raise CheckpointError(
                f"{model / 'config.json'}: no such file; "
                "pass a folder with text_encoder/ and tokenizer/, or with both sets of files in it"
            )
        if not weights:
            raise CheckpointError(
                f"{model}: no .safetensors here; save the encoder with save_pretrained(safe_serialization=True)"
            )
        if tokenizer is None:
            raise CheckpointError(
                f"{words}: neither {TOKENIZER} nor spiece.model here; copy umT5's beside it"
            )
        return cls(model, tuple(weights), tokenizer)

    def sources(self) -> tuple[SourceFile, ...]:
        """Name and checksum of every file that is read."""
        files = (self.model / "config.json", *self.weights, self.tokenizer)
        return tuple(SourceFile(name=file.name, sha256=sha256(file)) for file in files)


def export_text_encoder(
    checkpoint: Path,
    out: Path,
    *,
    precision: Precision = "int8",
    replace: bool = False,
    progress: Progress = lambda what: None,
) -> TextEncoderInfo:
    """Write an encoder folder to `out`, whole or not at all, compared with PyTorch.

    Raises CheckpointError for a checkpoint that is incomplete or no umT5, CheckFailedError when the result is
    further from PyTorch than `TOLERANCES` allows.
    """
    files = EncoderFiles.find(checkpoint)
    config = load_config(files.model / "config.json", Umt5Config)
    with atomic_directory(out, mark=DESCRIPTION, replace=replace) as folder:
        progress("reading the tokenizer")
        tokenizer = _write_tokenizer(files.tokenizer, folder / TOKENIZER, config)
        prompts = {text: tokenizer.encode(text).ids for text in PROMPTS}
        progress("reading the encoder")
        model = _load_encoder(files.model)
        parameters = sum(weight.numel() for weight in model.parameters())
        progress("running PyTorch")
        expected = {text: _torch_states(model, ids) for text, ids in prompts.items()}
        # Beside the result, not in /tmp: it is as large as the model.
        work = folder / "work"
        progress("tracing")
        _trace(model, work / "fp32")
        settings = model.config
        del model
        if precision == "int8":
            progress("quantising")
            _quantise(work / "fp32", work / "int8", settings)
        written = [file.rename(folder / file.name) for file in (work / precision).glob(f"{GRAPH}*")]
        for file in written:
            file.chmod(0o644)
        shutil.rmtree(work)
        progress("comparing with PyTorch")
        found = _onnx_states(folder / GRAPH, prompts)
        tolerance = TOLERANCES[precision]
        checks = [compare(text, found[text], expected[text], tolerance) for text in prompts]
        failed = next((check for check in checks if not check.passed), None)
        if failed is not None:
            raise CheckFailedError(
                f"{checkpoint}: the {precision} encoder is off by a relative L2 of {failed.row.relative_l2:.1e} "
                f"(limit {tolerance:.0e}) on {failed.row.stage!r}; "
                + (
                    "export it with --precision fp32"
                    if precision == "int8"
                    else "report this with the config.json"
                )
            )
        weights = next((file for file in written if file.name != GRAPH), None)
        info = TextEncoderInfo(
            gigaedge=gigaedge.__version__,
            model=EncoderSizes(
                layers=config.num_layers,
                heads=config.num_heads,
                width=config.d_model,
                vocabulary=config.vocab_size,
                parameters=parameters,
            ),
            precision=precision,
            max_tokens=MAX_TOKENS,
            graph=FileInfo(**describe_file(folder / GRAPH)),
            weights=FileInfo(**describe_file(weights)) if weights else None,
            tokenizer=FileInfo(**describe_file(folder / TOKENIZER)),
            source=files.sources(),
            fidelity=summary("PyTorch", checks, tolerance),
        )
        write_description(folder, info)
    return info


def _write_tokenizer(source: Path, target: Path, config: Umt5Config) -> Tokenizer:
    if source.name == TOKENIZER:
        shutil.copyfile(source, target)
    else:
        _convert_sentencepiece(source, target)
    try:
        tokenizer = Tokenizer.from_file(str(target))
    except Exception as error:
        raise CheckpointError(
            f"{source}: the tokenizers library cannot read it ({error}); copy it again"
        ) from error
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise CheckpointError(
            f"{source}: knows {tokenizer.get_vocab_size()} tokens, the encoder {config.vocab_size}; "
            "use the tokenizer the encoder was trained with"
        )
    # Some are saved with padding or truncation switched on.
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    if tokenizer.encode("a").ids[-1:] != [config.eos_token_id]:
        raise CheckpointError(
            f"{source}: does not end a text with token {config.eos_token_id} (</s>) as umT5 expects it; "
            "use the tokenizer the encoder was trained with"
        )
    return tokenizer


def _convert_sentencepiece(source: Path, target: Path) -> None:
    from transformers import T5TokenizerFast

    try:
        # Upstream's prompts hold none of T5's <extra_id_...> tokens.
        T5TokenizerFast(vocab_file=str(source), extra_ids=0).backend_tokenizer.save(str(target))
    except (RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{source}: no sentencepiece model that transformers can convert ({error}); put a {TOKENIZER} beside it"
        ) from error


def _load_encoder(folder: Path) -> UMT5EncoderModel:
    try:
        model, report = UMT5EncoderModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        message = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: transformers cannot load it ({message}); copy it again") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise CheckpointError(
            f"{folder}: weight {missing} is missing; copy every .safetensors of the encoder"
        )
    return model.float().eval()


def _trace(model: UMT5EncoderModel, folder: Path) -> None:
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        # optimum traces with torch's older exporter, which says twice that it will go.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        trace(
            model, Umt5EncoderOnnxConfig(model.config, task="feature-extraction"), folder / GRAPH, opset=OPSET
        )


def _quantise(source: Path, target: Path, settings: PretrainedConfig) -> None:
    """Weights of matrix products per channel; the rest stays fp32.

    A table of embeddings in 8 bits costs accuracy and saves no time. A product of two activations has no weight to
    shrink, and softmax would magnify its error.
    """
    graph = onnx.load(source / GRAPH, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    activations = [n.name for n in graph.node if n.op_type == "MatMul" and not weights.intersection(n.input)]
    recipe = AutoQuantizationConfig.avx512_vnni(
        is_static=False, per_channel=True, operators_to_quantize=["MatMul"], nodes_to_exclude=activations
    )
    large = any(file.name != GRAPH for file in source.iterdir())
    ORTQuantizer(source / GRAPH, settings).quantize(
        recipe, target, file_suffix=None, use_external_data_format=large
    )


def _torch_states(model: UMT5EncoderModel, ids: list[int]) -> NDArray[np.float32]:
    """Hidden states as upstream makes them: padded with a mask, then cut to the true length; (tokens, width)."""
    tokens = torch.zeros((1, MAX_TOKENS), dtype=torch.long)
    tokens[0, : len(ids)] = torch.tensor(ids)
    mask = (torch.arange(MAX_TOKENS) < len(ids)).long()[None]
    with torch.no_grad():
        states: torch.Tensor = model(tokens, mask).last_hidden_state
    return states[0, : len(ids)].numpy()


def _onnx_states(graph: Path, prompts: dict[str, list[int]]) -> dict[str, NDArray[np.float32]]:
    """Hidden states as the robot makes them: without padding; (tokens, width)."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    states = {}
    for text, ids in prompts.items():
        tokens = np.array([ids], np.int64)
        (found,) = session.run(None, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})
        states[text] = found[0]
    return states
