"""Names of the layers that several families share."""

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
        Rule(rf"{before}embeddings\.position_ids"),
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
