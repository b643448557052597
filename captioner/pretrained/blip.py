"""BLIP (Li et al. 2022, arXiv:2201.12086): a ViT, and BERT with cross-attention as decoder."""

from captioner.config import AttentionConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.pretrained.configuration import Section
from captioner.pretrained.family import (
    CLIP_MEAN,
    CLIP_STD,
    Family,
    Vocabulary,
    read_bert,
    read_vit,
)
from captioner.pretrained.layers import bert_head_rules, bert_rules, clip_rules

RULES = (
    *clip_rules(r"vision_model\.", fused=True, out="projection"),
    *bert_rules(r"text_decoder\.bert\."),
    *bert_head_rules(r"text_decoder\.cls\.predictions\."),
)


def read_blip(config: Section) -> Family:
    """Read the configuration of a BLIP captioner."""
    text, vision = config.part("text_config"), config.part("vision_config")
    encoder, size, _ = read_vit(vision, "vit_base_patch16_384", size=384)
    decoder = read_bert(text, heads=8, dropout=0.0)
    words = text.count("vocab_size", 30524)
    start = text.count("bos_token_id", 30522, least=0)
    return Family(
        model=ModelConfig(
            encoder=encoder,
            decoder=decoder,
        ),
        vocabulary=Vocabulary(
            rows=words,
            start=start,
            end=text.count("sep_token_id", 102, least=0),  # where `generate` stops, not at eos
            pad=text.count("pad_token_id", 0, least=0),
            # Salesforce's code adds both to BERT's vocabulary; no file on the hub has them.
            added={start: "[DEC]", start + 1: "[ENC]"},
        ),
        photos=PreprocessConfig(
            height=size, width=size, interpolation="bicubic", mean=CLIP_MEAN, std=CLIP_STD
        ),
        # Layer 8 of 12: LAVIS localises words best there, with gradients in the matching encoder,
        # which shares all layers but self-attention with the captioner.
        attention=AttentionConfig(layer=max(1, decoder.layers * 8 // 12)),
        # As in section 4.2 of the paper and its code, whose 20 tokens include START and prompt.
        search=SearchConfig(beam=3, max_words=16, length_penalty=1.0, prompt="a picture of"),
        rules=RULES,
    )
