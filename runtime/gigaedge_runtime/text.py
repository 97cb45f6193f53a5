"""An instruction to a prompt embedding, on the robot: ONNX Runtime and the tokenizers library, no PyTorch."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import ftfy
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gigaedge.errors import BundleError, InputError
from gigaedge.files import sha256
from gigaedge.text_encoder import DESCRIPTION, TextEncoderInfo, open_text_encoder
from gigaedge_runtime.sessions import Device


class TextEncoder:
    """A loaded text encoder. int8 and fp32 both run on the CPU: a prompt is embedded once, not in the loop."""

    def __init__(
        self, info: TextEncoderInfo, fingerprint: str, tokenizer: Tokenizer, session: ort.InferenceSession
    ) -> None:
        self.info = info
        self.sha256 = fingerprint
        """SHA-256 of `text_encoder.json`, which names graph, weights and tokenizer by theirs."""
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def load(cls, folder: Path | str, *, threads: int = 0) -> TextEncoder:
        """Open an exported encoder folder, verify it and load its graph; 0 threads leave one core free.

        Raises BundleError: no text encoder, a damaged one, an unknown schema.
        """
        folder = Path(folder)
        info = open_text_encoder(folder)
        file = folder / info.tokenizer.file
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:
            raise BundleError(f"{file}: this version of tokenizers cannot read it ({error})") from error
        # Some are saved with padding switched on.
        tokenizer.no_padding()
        tokenizer.enable_truncation(info.max_tokens)
        session = Device("cpu", threads).session(folder / info.graph.file)
        return cls(info, sha256(folder / DESCRIPTION), tokenizer, session)

    def embed(self, text: str, notice: Callable[[str], None] = lambda line: None) -> NDArray[np.float32]:
        """Hidden states of a text, float32 (tokens, width), end token included.

        Upstream pads to `max_tokens`, masks the padding and cuts it off again. What is masked does not reach the
        other tokens, so it is left out from the start: a sentence of 12 tokens needs a fortieth of the work.
        `notice` is called with a line when the text is longer than `max_tokens`. Raises InputError when nothing is
        left of the text after cleaning.
        """
        cleaned = clean_text(text)
        if not cleaned:
            raise InputError(
                f"prompt {text!r}: nothing is left after cleaning; write what the robot should do"
            )
        encoding = self._tokenizer.encode(cleaned)
        if encoding.overflowing:
            notice(
                f"prompt {_shortened(cleaned)!r}: longer than {self.info.max_tokens} tokens, the rest is cut"
            )
        ids = np.array([encoding.ids], np.int64)
        (states,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return np.asarray(states[0], np.float32)


def clean_text(text: str) -> str:
    """A text as the policy saw it in training: encoding mended, HTML entities resolved twice, white space collapsed."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
