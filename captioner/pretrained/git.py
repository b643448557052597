"""GIT (Wang et al. 2022, arXiv:2205.14100): CLIP's ViT, and a prefix decoder."""

from captioner.config import ModelConfig, PreprocessConfig, SearchConfig
from captioner.decoders import PrefixConfig
from captioner.pretrained.configuration import Section
from captioner.pretrained.family import CLIP_MEAN, CLIP_STD, Family, Vocabulary, read_vit
from captioner.pretrained.keys import Rule
from captioner.pretrained.layers import bert_rules, clip_rules

RULES = (
    *clip_rules(r"git\.image_encoder\.vision_model\.", fused=False, out="out_proj"),
    *bert_rules(r"git\."),
    Rule(r"git\.visual_projection\.visual_projection\.(.*)", r"decoder.from_feature.\1"),
    Rule(r"output\.weight", "decoder.words.output.weight"),
    Rule(r"output\.bias", "decoder.words.bias"),
)


def read_git(config: Section) -> Family:
    """Read the configuration of a GIT captioner of single images."""
    vision = config.part("vision_config")
    encoder, size, _ = read_vit(
        vision, "vit_base_patch16_clip_quickgelu_224", size=224, activation="quick_gelu"
    )
    config.require(hidden_act="gelu", num_image_with_embedding=None, tie_word_embeddings=False)
    return Family(
        model=ModelConfig(
            encoder=encoder,
            decoder=PrefixConfig(
                width=config.count("hidden_size", 768, most=2**14),
                layers=config.count("num_hidden_layers", 6, most=2**8),
                heads=config.count("num_attention_heads", 12, most=2**10),
                feedforward_width=config.count("intermediate_size", 3072, most=2**16),
                dropout=config.fraction("hidden_dropout_prob", 0.1),
                max_positions=config.count("max_position_embeddings", 1024),
                tie=False,
                eps=config.fraction("layer_norm_eps", 1e-12),
                bridge_eps=vision.fraction("layer_norm_eps", 1e-5),
            ),
        ),
        vocabulary=Vocabulary(
            rows=config.count("vocab_size", 30522),
            start=config.count("bos_token_id", 101, least=0),
            end=config.count("eos_token_id", 102, least=0),
            pad=config.count("pad_token_id", 0, least=0),
        ),
        photos=PreprocessConfig(
            height=size,
            width=size,
            fit="crop",
            interpolation="bicubic",
            mean=CLIP_MEAN,
            std=CLIP_STD,
        ),
        search=SearchConfig(beam=4, length_penalty=0.6),  # as in the authors' code
        rules=RULES,
    )
