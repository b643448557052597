"""Renaming rules for layers that several families share."""

import re
from collections.abc import Sequence

from captioner.pretrained.keys import Rule

_BERT = (
    (r"attention\.self\.(query|key|value)", r"self_attention.\2"),
    (r"attention\.output\.dense()", r"self_attention.out"),
    (r"attention\.output\.LayerNorm()", r"self_norm"),
    (r"crossattention\.self\.(query|key|value)", r"cross_attention.\2"),
    (r"crossattention\.output\.dense()", r"cross_attention.out"),
    (r"crossattention\.output\.LayerNorm()", r"cross_norm"),
    (r"intermediate\.dense()", r"feedforward.0"),
    (r"output\.dense()", r"feedforward.3"),
    (r"output\.LayerNorm()", r"feedforward_norm"),
)


def bert_rules(before: str) -> tuple[Rule, ...]:
    """Return rules for BERT's embeddings and layers under the prefix `before`."""
    layers = (
        Rule(rf"{before}encoder\.layer\.(\d+)\.{there}\.(.*)", rf"decoder.blocks.\1.{here}.\3")
        for there, here in _BERT
    )
    return (
        *layers,
        Rule(rf"{before}embeddings\.word_embeddings\.weight", "decoder.words.vectors.weight"),
        Rule(rf"{before}embeddings\.position_embeddings\.weight", "decoder.positions"),
        Rule(rf"{before}embeddings\.LayerNorm\.(.*)", r"decoder.embedding_norm.\1"),
        Rule(rf"{before}embeddings\.token_type_embeddings\.weight", onto="decoder.positions"),
        Rule(rf"{before}embeddings\.(?:position|token_type)_ids"),
    )


def bert_head_rules(before: str) -> tuple[Rule, ...]:
    """Return rules for BERT's output head under the prefix `before`."""
    return (
        Rule(rf"{before}transform\.dense\.(.*)", r"decoder.head.0.\1"),
        Rule(rf"{before}transform\.LayerNorm\.(.*)", r"decoder.head.2.\1"),
        Rule(rf"{before}bias", "decoder.words.bias"),
        Rule(rf"{before}decoder\.bias", "decoder.words.bias", spare=True),
        Rule(rf"{before}decoder\.weight", "decoder.words.vectors.weight", spare=True),
    )


_CLIP_LAYER = (
    (r"layer_norm1", "norm1"),
    (r"layer_norm2", "norm2"),
    (r"mlp\.fc1", "mlp.fc1"),
    (r"mlp\.fc2", "mlp.fc2"),
)
_CLIP = (
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.position_embedding(?:\.weight)?", "pos_embed"),
    (r"embeddings\.patch_embedding\.(.*)", r"patch_embed.proj.\1"),
    (r"pre_layrnorm\.(.*)", r"norm_pre.\1"),
    (r"post_layernorm\.(.*)", r"norm.\1"),
)


def clip_rules(before: str, *, fused: bool, out: str) -> tuple[Rule, ...]:
    """Return rules for a ViT with CLIP's names.

    Args:
        before: prefix of the names, a regular expression.
        fused: whether query, key and value share one weight.
        out: name of attention's output projection.
    """
    return (
        *_tower_rules(
            before,
            layer=r"encoder\.layers",
            attention=[r"self_attn\.qkv"] if fused else [rf"self_attn\.{x}_proj" for x in "qkv"],
            layers=((rf"self_attn\.{out}", "attn.proj"), *_CLIP_LAYER),
            rest=_CLIP,
        ),
        Rule(rf"{before}embeddings\.position_ids"),
    )


_VIT_LAYER = (
    (r"attention\.output\.dense", "attn.proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
)
_VIT = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
    (r"layernorm\.(.*)", r"norm.\1"),
)


def vit_rules(before: str) -> tuple[Rule, ...]:
    """Return rules for transformers' ViT and DeiT under the prefix `before`."""
    return (
        *_tower_rules(
            before,
            layer=r"encoder\.layer",
            attention=[rf"attention\.attention\.{x}" for x in ("query", "key", "value")],
            layers=_VIT_LAYER,
            rest=_VIT,
        ),
        Rule(rf"{before}embeddings\.mask_token"),
        Rule(rf"{before}pooler\..*"),
    )


def _tower_rules(
    before: str,
    *,
    layer: str,
    attention: Sequence[str],
    layers: Sequence[tuple[str, str]],
    rest: Sequence[tuple[str, str]],
) -> list[Rule]:
    """Return rules that map a ViT's names to timm's, inside its layers and outside."""
    here, block = rf"{before}{layer}\.(\d+)\.", r"encoder.backbone.blocks.\1."
    return [
        *(
            Rule(rf"{here}{part}\.(.*)", rf"{block}attn.qkv.\2", place=place)
            for place, part in enumerate(attention)
        ),
        *(Rule(rf"{here}{there}\.(.*)", rf"{block}{own}.\2") for there, own in layers),
        *(Rule(f"{before}{there}", f"encoder.backbone.{own}") for there, own in rest),
    ]


_GPT2 = (
    ("attn.c_attn", ("self_attention.query", "self_attention.key", "self_attention.value")),
    ("attn.c_proj", ("self_attention.out",)),
    ("crossattention.q_attn", ("cross_attention.query",)),
    ("crossattention.c_attn", ("cross_attention.key", "cross_attention.value")),
    ("crossattention.c_proj", ("cross_attention.out",)),
    ("mlp.c_fc", ("feedforward.0",)),
    ("mlp.c_proj", ("feedforward.3",)),
)
"""Layers that GPT-2 stores as (in, out)."""
_GPT2_NORMS = (("ln_1", "self_norm"), ("ln_cross_attn", "cross_norm"), ("ln_2", "feedforward_norm"))


def gpt2_rules(before: str) -> tuple[Rule, ...]:
    """Return rules for GPT-2 with cross-attention under the prefix `before`."""
    layer, block = rf"{before}h\.(\d+)\.", r"decoder.blocks.\1."
    linear = (
        Rule(
            rf"{layer}{re.escape(there)}\.(weight|bias)",
            tuple(rf"{block}{name}.\2" for name in here),
            transposed=True,
        )
        for there, here in _GPT2
    )
    return (
        *linear,
        *(Rule(rf"{layer}{there}\.(.*)", rf"{block}{here}.\2") for there, here in _GPT2_NORMS),
        Rule(rf"{layer}(?:attn|crossattention)\.(?:masked_)?bias"),  # masks in old files
        Rule(rf"{before}wte\.weight", "decoder.words.vectors.weight"),
        Rule(rf"{before}wpe\.weight", "decoder.positions"),
        Rule(rf"{before}ln_f\.(.*)", r"decoder.norm.\1"),
    )


_BART = (
    (r"self_attn\.q_proj", "self_attention.query"),
    (r"self_attn\.k_proj", "self_attention.key"),
    (r"self_attn\.v_proj", "self_attention.value"),
    (r"self_attn\.out_proj", "self_attention.out"),
    (r"encoder_attn\.q_proj", "cross_attention.query"),
    (r"encoder_attn\.k_proj", "cross_attention.key"),
    (r"encoder_attn\.v_proj", "cross_attention.value"),
    (r"encoder_attn\.out_proj", "cross_attention.out"),
    (r"self_attn_layer_norm", "self_norm"),
    (r"encoder_attn_layer_norm", "cross_norm"),
    (r"final_layer_norm", "feedforward_norm"),
    (r"fc1", "feedforward.0"),
    (r"fc2", "feedforward.3"),
)


def bart_rules(before: str, side: str) -> tuple[Rule, ...]:
    """Return rules for BART's encoder or decoder: prefix `before` there, `side` here."""
    return (
        *(
            Rule(rf"{before}layers\.(\d+)\.{there}\.(.*)", rf"{side}blocks.\1.{here}.\2")
            for there, here in _BART
        ),
        Rule(rf"{before}embed_positions\.weight", f"{side}positions", skipped=2),
        Rule(rf"{before}layernorm_embedding\.(.*)", rf"{side}embedding_norm.\1"),
        Rule(rf"{before}embed_tokens\.weight", "decoder.words.vectors.weight", spare=True),
    )
