"""Tiny KerasHub models with random weights, and inputs for them."""

import keras
import keras_hub
import numpy as np
from keras_hub.models import BertBackbone
from keras_hub.models import BertTextClassifier
from keras_hub.models import BertTextClassifierPreprocessor
from keras_hub.models import BertTokenizer
from keras_hub.models import DeiTBackbone
from keras_hub.models import DenseNetBackbone
from keras_hub.models import EfficientNetBackbone
from keras_hub.models import Gemma3Backbone
from keras_hub.models import GPT2Backbone
from keras_hub.models import GPT2CausalLM
from keras_hub.models import GPT2CausalLMPreprocessor
from keras_hub.models import GPT2Tokenizer
from keras_hub.models import LlamaBackbone
from keras_hub.models import MistralBackbone
from keras_hub.models import MiTBackbone
from keras_hub.models import MobileNetBackbone
from keras_hub.models import QwenBackbone
from keras_hub.models import ResNetBackbone
from keras_hub.models import SAMBackbone
from keras_hub.models import T5Backbone
from keras_hub.models import ViTBackbone
from keras_hub.models import ViTDetBackbone
from keras_hub.models import WhisperBackbone

_TEXT = {"vocabulary_size": 20, "num_layers": 2, "hidden_dim": 8}
_ENCODER = _TEXT | {"num_heads": 2, "intermediate_dim": 16}
_DECODER = _TEXT | {
    "num_query_heads": 2, "num_key_value_heads": 1, "intermediate_dim": 16,
}
_VISION = {
    "image_shape": (16, 16, 3), "patch_size": 4, "num_layers": 2,
    "num_heads": 2, "hidden_dim": 8,
}


def resnet():
    return ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )


def mobilenet():
    return MobileNetBackbone(
        stackwise_expansion=[[8, 12], [16, 16]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[8, 8], [12, 12]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish"] * 2],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=16,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=8,
        squeeze_and_excite=0.5,
        input_activation="hard_swish",
        output_activation="hard_swish",
        input_num_filters=8,
        image_shape=(32, 32, 3),
    )


def efficientnet():
    return EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0.0, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=["fused", "unfused"],
        stackwise_force_input_filters=[0, 0],
        stackwise_nores_option=[False, False],
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        input_shape=(32, 32, 3),
    )


def densenet():
    return DenseNetBackbone(
        stackwise_num_repeats=[2, 2], growth_rate=4, image_shape=(32, 32, 3)
    )


def vit():
    return ViTBackbone(**_VISION, mlp_dim=16)


def deit():
    return DeiTBackbone(**_VISION, intermediate_dim=16)


def mit():
    return MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[8, 16],
        image_shape=(32, 32, 3),
    )


def sam():
    encoder = ViTDetBackbone(
        hidden_size=8,
        num_layers=2,
        intermediate_dim=16,
        num_heads=2,
        global_attention_layer_indices=[1],
        patch_size=8,
        num_output_channels=8,
        window_size=2,
        image_shape=(32, 32, 3),
    )
    prompts = keras_hub.layers.SAMPromptEncoder(
        hidden_size=8,
        image_embedding_size=(4, 4),
        input_image_size=(32, 32),
        mask_in_channels=16,
    )
    decoder = keras_hub.layers.SAMMaskDecoder(
        num_layers=2,
        hidden_size=8,
        intermediate_dim=16,
        num_heads=2,
        embedding_dim=8,
        num_multimask_outputs=3,
        iou_head_depth=2,
        iou_head_hidden_dim=8,
    )
    return SAMBackbone(encoder, prompts, decoder)


def bert():
    return BertBackbone(**_ENCODER, max_sequence_length=8)


def gpt2():
    return GPT2Backbone(**_ENCODER, max_sequence_length=8)


def llama():
    return LlamaBackbone(**_DECODER)


def gemma3():
    return Gemma3Backbone(**_DECODER, image_size=16, head_dim=4)


def qwen():
    return QwenBackbone(**_DECODER)


def mistral():
    return MistralBackbone(**_DECODER, sliding_window=8)


def t5():
    return T5Backbone(**_ENCODER)


def whisper():
    return WhisperBackbone(
        **_ENCODER,
        num_mels=8,
        max_encoder_sequence_length=16,
        max_decoder_sequence_length=8,
    )


def text_classifier():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "quick", "fox"]
    tokenizer = BertTokenizer(vocabulary=words)
    return BertTextClassifier(
        bert(),
        num_classes=3,
        preprocessor=BertTextClassifierPreprocessor(
            tokenizer, sequence_length=8
        ),
    )


def causal_lm():
    merges = ["Ġ q", "u i", "c k", "ui ck", "Ġq uick", "Ġ f", "o x", "Ġf ox"]
    merged = [merge.replace(" ", "") for merge in merges]
    words = dict.fromkeys(["<|endoftext|>", *"aĠquickfox", *merged])
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = GPT2Tokenizer(vocabulary=vocabulary, merges=merges)
    return GPT2CausalLM(
        gpt2(),
        GPT2CausalLMPreprocessor(tokenizer=tokenizer, sequence_length=8),
    )


def language_model(family, heads=4, groups=2):
    """A decoder with its head, all widths of which can go."""
    task = getattr(keras_hub.models, f"{family}CausalLM")
    options = _TEXT | {
        "hidden_dim": 16, "num_query_heads": heads,
        "num_key_value_heads": groups, "intermediate_dim": 16,
    }
    if family == "Gemma3":
        options |= {"image_size": 16, "head_dim": 4}
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**options)
    return task(backbone=backbone, preprocessor=None)


def with_head(model):
    """A backbone with a dense layer on every output, which reads its width."""
    heads = [keras.layers.Dense(3)(x) for x in keras.tree.flatten(model.output)]
    return keras.Model(model.input, heads, name=f"with_{model.name}")


MODELS = {
    "ResNet": resnet,
    "MobileNet": mobilenet,
    "EfficientNet": efficientnet,
    "DenseNet": densenet,
    "ViT": vit,
    "DeiT": deit,
    "MiT": mit,
    "SAM": sam,
    "BERT": bert,
    "GPT-2": gpt2,
    "Llama": llama,
    "Gemma3": gemma3,
    "Qwen": qwen,
    "Mistral": mistral,
    "T5": t5,
    "Whisper": whisper,
    "BertTextClassifier": text_classifier,
    "GPT2CausalLM": causal_lm,
}


def inputs_of(model, batch=1):
    """Returns random inputs in the structure that a model takes."""
    random = np.random.default_rng(0)

    def values(tensor):
        length = 1 if tensor.name in ("boxes", "masks") else 8
        shape = [length if n is None else n for n in tensor.shape[1:]]
        if tensor.name == "masks":
            shape = [1, 16, 16, 1]
        if "mask" in tensor.name and len(shape) == 1:
            return np.ones((batch, *shape), "int32")
        if tensor.name.endswith(("token_ids", "labels")):
            return random.integers(0, 2, (batch, *shape)).astype("int32")
        if "int" in keras.backend.standardize_dtype(tensor.dtype):
            return np.zeros((batch, *shape), "int32")
        return random.random((batch, *shape)).astype("float32")

    return keras.tree.map_structure(values, model._inputs_struct)
