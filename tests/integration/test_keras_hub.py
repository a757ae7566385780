"""KerasHub models go all the way, and stay what they are."""

import importlib

import numpy as np
import pytest

import tf_lottery as tfl
from tests.conftest import tensorflow_only

pytest.importorskip("keras_hub", reason="the hub extra is not installed")
hub_models = importlib.import_module("tests.integration.hub_models")
hub_table = importlib.import_module("tests.integration.hub_table")

pytestmark = tensorflow_only("KerasHub's tokenizers, and TFLite")
QUICK = ("ResNet", "BERT", "ViT", "Llama")
NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in hub_models.MODELS
]


# KerasHub and Keras warn of masks that some of its layers do not pass on.
@pytest.mark.filterwarnings("ignore:Layer '.*was passed an input with a mask")
# Embeddings that are not tied have no gradient in a backbone alone.
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
# Keras compiles no class with a `compile` of its own when it loads one, and
# leaves its optimizer as it is.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
@pytest.mark.filterwarnings("ignore:`compile..` was not called as part of mod")
@pytest.mark.filterwarnings("ignore:Model .* overrides `compile`, so Keras")
@pytest.mark.parametrize("name", NAMES)
def test_all_the_way(name, tmp_path):
    model, inputs, masks = hub_table.trained(name)
    assert "density of the held weights: 50" in str(tfl.summary(model))
    hub_table.check_training(model, masks, tmp_path / "m.keras")
    hub_table.check_strip(model, inputs, tmp_path / "plain.keras")


@pytest.mark.slow
def test_a_classifier_keeps_backbone_and_preprocessor():
    model, *_ = hub_table.trained("BertTextClassifier")
    plain = tfl.strip(model)
    assert plain.backbone is not model.backbone
    assert type(plain.backbone) is type(model.backbone)
    assert plain.preprocessor is not model.preprocessor
    words = ["a quick fox", "fox"]
    np.testing.assert_array_equal(
        plain.predict(words, verbose=0), model.predict(words, verbose=0)
    )


@pytest.mark.slow
def test_a_language_model_goes_on_generating():
    model = hub_models.causal_lm()
    model.compile(sampler="greedy")
    tfl.prune(model, 0.5)
    plain = tfl.strip(model)
    assert type(plain.sampler) is type(model.sampler)
    assert plain.generate("a quick", max_length=6) == model.generate(
        "a quick", max_length=6
    )


@pytest.mark.slow
# Tasks are compiled, and scales are corrected for the number of channels.
@pytest.mark.filterwarnings("ignore:The small model computes the same")
@pytest.mark.parametrize(
    "family, exclude, roles",
    [
        ("Llama", (), 3),
        ("Mistral", (), 3),
        ("Qwen", (), 3),
        ("Gemma3", ("*/token_embedding",), 2),
    ],
)
def test_decoders_shrink_and_go_on_generating(family, exclude, roles):
    model = hub_models.language_model(family)
    plan = tfl.structured.plan(model, ratio=0.5, exclude=exclude)
    small = tfl.structured.shrink(model, plan)
    proof = tfl.structured.proof_of(small)
    assert proof.dtype == "float64" and proof.error < 1e-10
    assert type(small) is type(model)
    # Heads with their keys and values, layers between, and the width.
    cut = [group for group in plan.groups if len(group.kept) < group.size]
    assert len(cut) == 2 * 2 + (roles == 3)
    assert small.count_params() < 0.6 * model.count_params()
    prompt = {
        "token_ids": np.ones((1, 6), "int32"),
        "padding_mask": np.array([[1, 1, 1, 0, 0, 0]]),
    }
    if family != "Gemma3":  # It needs a preprocessor to generate.
        small.compile(sampler="greedy")
        found = small.generate(prompt, stop_token_ids=None)
        assert found["token_ids"].shape == (1, 6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The configuration of")
@pytest.mark.filterwarnings("ignore:The small model computes the same")
# T5's layers say so of themselves.
@pytest.mark.filterwarnings("ignore:Layer '.*_attention'")
@pytest.mark.parametrize(
    "name, normalisations, frozen",
    [
        ("ViT", "5 of 5", 3),
        ("DeiT", "5 of 5", 3),
        # The logits stay, and the axes within the heads.
        ("GPT-2", "5 of 5", 27),
        ("T5", "", 6),
        ("Gemma3", "", 24),
    ],
)
def test_widths_behind_normalisations_shrink(name, normalisations, frozen):
    _, model = hub_table.shrinkable(name)
    rewritten, units, _, error, _, file = hub_table.width_row(model)
    assert rewritten == normalisations
    free, made = map(int, units.split(" of "))
    assert made - free == frozen
    assert float(error) < 1e-10
    assert file == "loads"


def test_masks_around_layers_that_have_no_configuration():
    with pytest.raises(ValueError, match="'transformer_layer_0' cannot be ma"):
        tfl.layers.wrap(hub_models.llama())
