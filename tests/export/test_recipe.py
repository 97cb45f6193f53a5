"""Precision per place: rules before guards before the default, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaedge.bundle import Precision
from gigaedge.errors import ConfigError, InputError
from gigaedge_export.places import layer_of, place
from gigaedge_export.recipe import Recipe, Rule, read_rules


@pytest.mark.parametrize(
    ("stage", "path", "expected"),
    [
        ("step", "transformer.blocks.3.attn1.to_q", "step/layer03/attn1.to_q"),
        (
            "context",
            "transformer.blocks.12.visual_expert.ffn.net.0.proj",
            "context/layer12/visual_expert.ffn.net.0.proj",
        ),
        ("step", "transformer.blocks.3", "step/layer03"),
        ("step", "transformer.action_decoder.out_proj", "step/action_decoder.out_proj"),
        ("context", "vae.encoder.conv_in", "vae/encoder.conv_in"),
        ("context", "vae", "vae"),
        ("step", "", "step"),
    ],
)
def test_places(stage: str, path: str, expected: str) -> None:
    assert place(stage, path) == expected


def test_layer_of() -> None:
    assert layer_of("step/layer03/attn1.to_q") == "layer03"
    assert layer_of("vae/encoder.conv_in") == "vae"
    assert layer_of("step/action_decoder.out_proj") == ""


@pytest.mark.parametrize(
    ("precision", "target", "where", "expected"),
    [
        ("fp32", "cuda", "step/layer00/attn1.to_q", "fp32"),
        ("fp16", "cpu", "vae/encoder.conv_in", "fp16"),
        ("int8", "cpu", "step/layer00/attn1.to_q", "int8"),
        ("int8", "cpu", "vae/encoder.conv_in", "fp32"),
        ("int8", "cuda", "vae/encoder.conv_in", "fp16"),
        ("int8", "cuda", "step/action_decoder.out_proj", "fp16"),
        ("int4", "cpu", "text/condition_embedder.text_embedder.linear_1", "fp32"),
        ("int4", "cpu", "text/layer01/attn2.to_k", "fp16"),
        ("int4", "cpu", "context/layer01/attn2.to_q", "int4"),
    ],
)
def test_defaults_and_guards(precision: str, target: str, where: str, expected: str) -> None:
    assert Recipe(precision, target).of(where) == expected  # type: ignore[arg-type]


def test_the_first_rule_wins_and_what_is_kept_wins_over_rules() -> None:
    rules = (Rule(match="step/*", precision="fp16"), Rule(match="*", precision="int4"))
    recipe = Recipe("int8", "cpu", rules, {"step/layer01/ffn.net.2": "why"})
    assert recipe.of("step/layer00/ffn.net.2") == "fp16"
    assert recipe.of("vae/encoder.conv_in") == "fp16"
    assert recipe.of("step/layer01/ffn.net.2") == "fp32"
    assert [kept.reason for kept in recipe.kept_higher()][:2] == ["recipe", "recipe"]
    assert recipe.kept_higher()[-1].reason == "why"


def test_a_rule_that_matches_nothing_is_named() -> None:
    recipe = Recipe("int8", "cpu", (Rule(match="steps/*", precision="fp16"),))
    with pytest.raises(InputError, match=r"'steps/\*' matches nothing; places look like step/layer00/a"):
        recipe.check({"step/layer00/a", "vae/b"})


PLACES = {"step/layer00/a", "step/layer01/a", "vae/b"}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            (("step/*", "int8"), ("step/layer01/*", "fp16")),
            "'step/layer01/.*' never applies: .* put it before them",
        ),
        ((("vae/*", "int8"),), r"'vae/\*': these are convolutions, which have no int8; choose fp16 or fp32"),
    ],
)
def test_a_rule_that_no_place_follows_is_named(
    rules: tuple[tuple[str, Precision], ...], message: str
) -> None:
    recipe = Recipe(
        "fp32", "cpu", tuple(Rule(match=match, precision=precision) for match, precision in rules)
    )
    with pytest.raises(InputError, match=message):
        recipe.check(PLACES)


def test_a_wide_int8_rule_gives_convolutions_fp16() -> None:
    recipe = Recipe("fp32", "cpu", (Rule(match="*", precision="int8"),))
    recipe.check(PLACES)
    assert [recipe.of(place) for place in sorted(PLACES)] == ["int8", "int8", "fp16"]


@pytest.mark.parametrize("rules", [(), (Rule(match="step/*", precision="int4"),)])
def test_tensorrt_has_no_int4(rules: tuple[Rule, ...]) -> None:
    with pytest.raises(InputError, match="TensorRT does not parse"):
        Recipe("int8" if rules else "int4", "tensorrt", rules)


def test_read_rules(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("rules:\n- {match: 'step/*', precision: fp16}\n")
    assert read_rules(file) == (Rule(match="step/*", precision="fp16"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{match: x, precision: fp8}]", "precision"),
        ("rule: []", "rules"),
        ("rules: [{match: x, precison: fp16}]", "precison"),
        ("rules: [", "not valid YAML"),
        ("", "expected `rules:`"),
        ("- {match: x, precision: fp16}", "expected `rules:`"),
    ],
)
def test_a_wrong_recipe_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"recipe\.yaml: .*{message}"):
        read_rules(file)
    with pytest.raises(ConfigError, match="no such recipe file"):
        read_rules(tmp_path / "other.yaml")
