"""Florence-2 (Xiao et al. 2023, arXiv:2311.06242): DaViT, and BART with a task prompt."""

from dataclasses import replace

from captioner.config import (
    EncoderConfig,
    ModelConfig,
    PreprocessConfig,
    SearchConfig,
    TaskConfig,
)
from captioner.decoders import TransformerConfig
from captioner.pretrained.configuration import Section
from captioner.pretrained.family import Family, Vocabulary
from captioner.pretrained.keys import Rule
from captioner.pretrained.layers import bart_rules
from captioner.words.tokenizer import TASKS, Tokenizer

_TOWER = r"(?:model\.)?vision_tower\."
_LANGUAGE = r"(?:model\.language_model|language_model\.model)\."
_PROJECTOR = r"(?:model\.multi_modal_projector\.)?"
_BLOCK = rf"{_TOWER}blocks\.(\d+)\.(\d+)\.(spatial|channel)_block\."
_OURS = r"encoder.backbone.stages.\1.blocks.\2.\3_block."

RULES = (
    *bart_rules(rf"{_LANGUAGE}encoder\.", "encoder."),
    *bart_rules(rf"{_LANGUAGE}decoder\.", "decoder."),
    Rule(r"(?:language_model\.)?lm_head\.weight", "decoder.words.vectors.weight", spare=True),
    Rule(r"(?:model\.)?language_model\.final_logits_bias"),
    Rule(rf"{_PROJECTOR}image_projection\.weight", "encoder.projection.weight"),
    Rule("image_projection", "encoder.projection.weight", transposed=True),
    Rule(rf"{_PROJECTOR}image_proj_norm\.(.*)", r"encoder.projection_norm.\1"),
    Rule(
        rf"{_PROJECTOR}image_pos(?:ition)?_embed\.(row|column)_embeddings\.weight",
        r"encoder.\1_positions",
    ),
    Rule(rf"{_PROJECTOR}visual_temporal_embed\..*"),
    Rule(rf"{_TOWER}convs\.0\.(?:conv|proj)\.(.*)", r"encoder.backbone.stem.conv.\1"),
    Rule(rf"{_TOWER}convs\.0\.norm\.(.*)", r"encoder.backbone.stem.norm.\1"),
    Rule(
        rf"{_TOWER}convs\.(\d+)\.(?:conv|proj)\.(.*)",
        r"encoder.backbone.stages.\1.downsample.conv.\2",
    ),
    Rule(rf"{_TOWER}convs\.(\d+)\.norm\.(.*)", r"encoder.backbone.stages.\1.downsample.norm.\2"),
    Rule(rf"{_BLOCK}(?:window|channel)_attn\.(?:fn\.)?(qkv|proj)\.(.*)", rf"{_OURS}attn.\4.\5"),
    Rule(rf"{_BLOCK}conv([12])\.(?:fn\.dw\.)?(weight|bias)", rf"{_OURS}cpe\4.proj.\5"),
    Rule(rf"{_BLOCK}ffn\.(?:fn\.net\.)?(fc[12])\.(.*)", rf"{_OURS}mlp.\4.\5"),
    Rule(rf"{_BLOCK}(?:norm1|(?:window|channel)_attn\.norm)\.(.*)", rf"{_OURS}norm1.\4"),
    Rule(rf"{_BLOCK}(?:norm2|ffn\.norm)\.(.*)", rf"{_OURS}norm2.\4"),
)
"""Names of transformers and of Microsoft's code, which nests each norm in the layer it precedes."""


def read_florence(config: Section) -> Family:
    """Read the configuration of Florence-2, as a captioner of single images."""
    text, vision = config.part("text_config"), config.part("vision_config")
    vision.require(
        in_channels=3,
        patch_size=[7, 3, 3, 3],
        patch_stride=[4, 2, 2, 2],
        patch_padding=[3, 1, 1, 1],
        patch_prenorm=[False, True, True, True],
        mlp_ratio=4.0,
        qkv_bias=True,
        activation_function="gelu",
    )
    # Microsoft's own configuration names some settings differently, and has more of them.
    vision.require(image_feature_source=["spatial_avg_pool", "temporal_avg_pool"])
    positions, time = (vision.part(n) for n in ("image_pos_embed", "visual_temporal_embedding"))
    positions.require(type="learned_abs_2d")
    time.require(type="COSINE")
    widths = "embed_dim" if vision.get("dim_embed") is None else "dim_embed"
    text.require(activation_function="gelu", scale_embedding=False)
    heads = vision.counts("num_heads", (4, 8, 16, 32), most=2**10)
    vision.require(num_groups=list(heads))
    width = text.count("d_model", 1024, most=2**14)
    longest = text.count("max_position_embeddings", 1024)
    start = text.count("decoder_start_token_id", 2, least=0)
    return Family(
        model=ModelConfig(
            encoder=EncoderConfig(
                backbone="davit_base_fl",
                options={
                    "depths": list(vision.counts("depths", (1, 1, 9, 1), most=2**8)),
                    "embed_dims": list(vision.counts(widths, (128, 256, 512, 1024), most=2**14)),
                    "num_heads": list(heads),
                    "window_size": vision.count("window_size", 12, most=2**10),
                },
                task=TaskConfig(
                    width=width,
                    layers=text.count("encoder_layers", 12, most=2**8),
                    heads=text.count("encoder_attention_heads", 16, most=2**10),
                    feedforward_width=text.count("encoder_ffn_dim", 4096, most=2**16),
                    dropout=text.fraction("dropout", 0.1),
                    max_positions=longest,
                    sides=positions.count(
                        "max_pos_embeddings", vision.count("max_position_embeddings", 50)
                    ),
                    tokens=1,  # see `with_task`
                ),
            ),
            decoder=TransformerConfig(
                width=width,
                layers=text.count("decoder_layers", 12, most=2**8),
                heads=text.count("decoder_attention_heads", 16, most=2**10),
                feedforward_width=text.count("decoder_ffn_dim", 4096, most=2**16),
                dropout=text.fraction("dropout", 0.1),
                max_positions=longest,
                norm="post",
                activation="gelu",
                scaled_words=False,
                embedding_norm=True,
                bridge="none",
            ),
        ),
        vocabulary=Vocabulary(
            rows=text.count("vocab_size", 50265),
            start=start,
            then=(text.count("bos_token_id", 0, least=0),),  # `generate` forces it
            end=text.count("eos_token_id", 2, least=0),
            pad=text.count("pad_token_id", 1, least=0),
        ),
        photos=PreprocessConfig(height=768, width=768),
        any_size=True,
        # As in the repositories' generation_config.json.
        search=SearchConfig(beam=3, max_words=40, length_penalty=1.0, no_repeat=3),
        rules=RULES,
        finish=with_task,
    )


def with_task(family: Family, tokenizer: Tokenizer) -> Family:
    """Add the embeddings of the task prompt to the encoder."""
    marks = tokenizer.marks
    ids = (*marks.then, *tokenizer.encode(TASKS["<CAPTION>"]), marks.end)
    encoder = family.model.encoder
    assert encoder.task is not None
    task = replace(encoder.task, tokens=len(ids))
    shared = Rule(
        rf"{_LANGUAGE}shared\.weight",
        "decoder.words.vectors.weight",
        also="encoder.task",
        picked=ids,
    )
    return replace(
        family,
        model=replace(family.model, encoder=replace(encoder, task=task)),
        rules=(shared, *family.rules),
    )
