"""Names of the layers that several families share."""

import re

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
    """Return rules for BERT's embeddings and layers, whose names begin with `before`."""
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
    """Return rules for what scores words in BERT, whose names begin with `before`."""
    return (
        Rule(rf"{before}transform\.dense\.(.*)", r"decoder.head.0.\1"),
        Rule(rf"{before}transform\.LayerNorm\.(.*)", r"decoder.head.2.\1"),
        Rule(rf"{before}bias", "decoder.words.bias"),
        Rule(rf"{before}decoder\.bias", "decoder.words.bias", spare=True),
        Rule(rf"{before}decoder\.weight", "decoder.words.vectors.weight", spare=True),
    )


def clip_rules(before: str, *, fused: bool, out: str) -> tuple[Rule, ...]:
    """Return rules for a ViT whose layers are called like CLIP's, with `before` at the beginning.

    Args:
        before: regular expression.
        fused: whether queries, keys and values are one weight.
        out: name of the layer behind attention.
    """
    layer, block = rf"{before}encoder\.layers\.(\d+)\.", r"encoder.backbone.blocks.\1."
    parts = (("q", 0), ("k", 1), ("v", 2))
    attention = (
        [Rule(rf"{layer}self_attn\.qkv\.(.*)", rf"{block}attn.qkv.\2")]
        if fused
        else [
            Rule(rf"{layer}self_attn\.{part}_proj\.(.*)", rf"{block}attn.qkv.\2", place=place)
            for part, place in parts
        ]
    )
    backbone = "encoder.backbone."
    return (
        *attention,
        Rule(rf"{layer}self_attn\.{out}\.(.*)", rf"{block}attn.proj.\2"),
        Rule(rf"{layer}layer_norm([12])\.(.*)", rf"{block}norm\2.\3"),
        Rule(rf"{layer}mlp\.(fc[12])\.(.*)", rf"{block}mlp.\2.\3"),
        Rule(rf"{before}embeddings\.class_embedding", f"{backbone}cls_token"),
        Rule(rf"{before}embeddings\.position_embedding(?:\.weight)?", f"{backbone}pos_embed"),
        Rule(rf"{before}embeddings\.patch_embedding\.(.*)", rf"{backbone}patch_embed.proj.\1"),
        Rule(rf"{before}embeddings\.position_ids"),
        Rule(rf"{before}pre_layrnorm\.(.*)", rf"{backbone}norm_pre.\1"),
        Rule(rf"{before}post_layernorm\.(.*)", rf"{backbone}norm.\1"),
    )


def vit_rules(before: str) -> tuple[Rule, ...]:
    """Return rules for the ViT and DeiT of transformers, whose names begin with `before`."""
    layer, block = rf"{before}encoder\.layer\.(\d+)\.", r"encoder.backbone.blocks.\1."
    backbone = "encoder.backbone."
    return (
        *(
            Rule(rf"{layer}attention\.attention\.{part}\.(.*)", rf"{block}attn.qkv.\2", place=place)
            for place, part in enumerate(("query", "key", "value"))
        ),
        Rule(rf"{layer}attention\.output\.dense\.(.*)", rf"{block}attn.proj.\2"),
        Rule(rf"{layer}intermediate\.dense\.(.*)", rf"{block}mlp.fc1.\2"),
        Rule(rf"{layer}output\.dense\.(.*)", rf"{block}mlp.fc2.\2"),
        Rule(rf"{layer}layernorm_before\.(.*)", rf"{block}norm1.\2"),
        Rule(rf"{layer}layernorm_after\.(.*)", rf"{block}norm2.\2"),
        Rule(rf"{before}embeddings\.cls_token", f"{backbone}cls_token"),
        Rule(rf"{before}embeddings\.distillation_token", f"{backbone}dist_token"),
        Rule(rf"{before}embeddings\.mask_token"),
        Rule(rf"{before}embeddings\.position_embeddings", f"{backbone}pos_embed"),
        Rule(
            rf"{before}embeddings\.patch_embeddings\.projection\.(.*)",
            rf"{backbone}patch_embed.proj.\1",
        ),
        Rule(rf"{before}layernorm\.(.*)", rf"{backbone}norm.\1"),
        Rule(rf"{before}pooler\..*"),
    )


_GPT2 = (
    ("attn.c_attn", ("self_attention.query", "self_attention.key", "self_attention.value")),
    ("attn.c_proj", ("self_attention.out",)),
    ("crossattention.q_attn", ("cross_attention.query",)),
    ("crossattention.c_attn", ("cross_attention.key", "cross_attention.value")),
    ("crossattention.c_proj", ("cross_attention.out",)),
    ("mlp.c_fc", ("feedforward.0",)),
    ("mlp.c_proj", ("feedforward.3",)),
)
"""Layers that GPT-2 stores (in, out)."""
_GPT2_NORMS = (("ln_1", "self_norm"), ("ln_cross_attn", "cross_norm"), ("ln_2", "feedforward_norm"))


def gpt2_rules(before: str) -> tuple[Rule, ...]:
    """Return rules for GPT-2 with cross-attention, whose names begin with `before`."""
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
        Rule(rf"{layer}(?:attn|crossattention)\.(?:masked_)?bias"),  # masks of old files
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
    """Return rules for BART's encoder or decoder, whose names begin with `before`, `side` here."""
    return (
        *(
            Rule(rf"{before}layers\.(\d+)\.{there}\.(.*)", rf"{side}blocks.\1.{here}.\2")
            for there, here in _BART
        ),
        Rule(rf"{before}embed_positions\.weight", f"{side}positions", skipped=2),
        Rule(rf"{before}layernorm_embedding\.(.*)", rf"{side}embedding_norm.\1"),
        Rule(rf"{before}embed_tokens\.weight", "decoder.words.vectors.weight", spare=True),
    )
