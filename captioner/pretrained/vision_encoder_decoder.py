"""VisionEncoderDecoderModel: a ViT or DeiT, and GPT-2 or BERT with cross-attention.

The best-known captioner of this type is ViT-GPT2 (Luo et al. 2022).
"""

from collections.abc import Callable
from typing import Literal

from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.decoders import TransformerConfig
from captioner.errors import CheckpointError
from captioner.pretrained.configuration import Section
from captioner.pretrained.family import Family, Vocabulary, read_bert, read_vit
from captioner.pretrained.keys import Rule
from captioner.pretrained.layers import bert_head_rules, bert_rules, gpt2_rules, vit_rules

RULES = (
    *vit_rules(r"encoder\."),
    *gpt2_rules(r"decoder\.transformer\."),
    Rule(r"decoder\.lm_head\.weight", "decoder.words.vectors.weight", spare=True),
    *bert_rules(r"decoder\.bert\."),
    *bert_head_rules(r"decoder\.cls\.predictions\."),
    Rule(r"enc_to_dec_proj\.(.*)", r"decoder.from_feature.0.\1"),
)

_BACKBONES = {"vit": "vit_base_patch16_224", "deit": "deit_base_distilled_patch16_224"}
_ACTIVATIONS: dict[str, Literal["gelu_tanh", "gelu", "relu"]] = {
    "gelu_new": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}


def read_vision_encoder_decoder(config: Section) -> Family:
    """Read the configuration of a VisionEncoderDecoderModel.

    Raises:
        CheckpointError: the encoder or the decoder is not supported.
    """
    text = config.part("decoder")
    encoder, size, feature_dim = _read_encoder(config.part("encoder"))
    kind = text.text("model_type", "none")
    if kind not in _DECODERS:
        raise CheckpointError(
            f"{text.where}: model_type {kind!r} is not supported; choose from "
            f"{' and '.join(_DECODERS)}, with cross-attention."
        )
    text.require(
        add_cross_attention=True, cross_attention_hidden_size=None, tie_word_embeddings=True
    )
    read, width, rows, start, end = _DECODERS[kind]
    # transformers adds a projection only if the widths differ.
    same = feature_dim == text.count(width, 768, most=2**14)
    end = config.count("eos_token_id", text.count("eos_token_id", end, least=0), least=0)
    start = text.count("bos_token_id", start, least=0)
    return Family(
        model=ModelConfig(encoder=encoder, decoder=read(text, bridge="none" if same else "linear")),
        vocabulary=Vocabulary(
            rows=text.count("vocab_size", rows),
            start=config.count("decoder_start_token_id", start, least=0),
            end=end,
            pad=config.count("pad_token_id", 0 if kind == "bert" else end, least=0),
        ),
        photos=PreprocessConfig(
            height=size, width=size, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        # As on nlpconnect's model card, whose 16 tokens include START.
        search=SearchConfig(beam=4, max_words=15, length_penalty=1.0),
        rules=RULES,
    )


def _read_gpt2(section: Section, *, bridge: Literal["linear", "none"]) -> TransformerConfig:
    section.require(scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True)
    activation = section.text("activation_function", "gelu_new")
    if activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{section.where}: activation_function {activation!r} is not supported; choose from "
            f"{', '.join(_ACTIVATIONS)}."
        )
    width = section.count("n_embd", 768, most=2**14)
    return TransformerConfig(
        width=width,
        layers=section.count("n_layer", 12, most=2**8),
        heads=section.count("n_head", 12, most=2**10),
        feedforward_width=section.count("n_inner", 4 * width, most=2**16),
        dropout=section.fraction("resid_pdrop", 0.1),
        max_positions=section.count("n_positions", 1024),
        activation=_ACTIVATIONS[activation],
        eps=section.fraction("layer_norm_epsilon", 1e-5),
        scaled_words=False,
        bridge=bridge,
    )


_DECODERS: dict[str, tuple[Callable[..., TransformerConfig], str, int, int, int]] = {
    "gpt2": (_read_gpt2, "n_embd", 50257, 50256, 50256),
    "bert": (read_bert, "hidden_size", 30522, 101, 102),
}
"""Reader, name of the width setting, and defaults of vocabulary size, start id and end id."""


def _read_encoder(section: Section) -> tuple[EncoderConfig, int, int]:
    kind = section.text("model_type", "none")
    if kind not in _BACKBONES:
        raise CheckpointError(
            f"{section.where}: model_type {kind!r} is not supported; choose from "
            f"{' and '.join(_BACKBONES)}."
        )
    section.require(qkv_bias=True)
    return read_vit(section, _BACKBONES[kind], size=224, eps=1e-12)
