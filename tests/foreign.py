"""Small captioners as transformers writes them, their weights far from where training begins."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz'-,."
PLAIN = (
    *("a", "man", "dog", "cat", "picture", "of", "the", "red", "two", "on", "in", "grass"),
    *("##ing", "##s", "play", "park", "sitting"),
)
WORDPIECES = list(
    dict.fromkeys([*SPECIALS, *PLAIN, *LETTERS, *(f"##{letter}" for letter in LETTERS[:26])])
)

VISION = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 64,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": len(WORDPIECES) + 2,
    "max_position_embeddings": 40,
}


def shaken(model, *, seed=0):
    """Draw all weights anew: those that training begins with would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            normed = "norm" in name.lower() and weight.dim() == 1 and name.endswith("weight")
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.15 + normed)
    return model.eval()


def blip(*, seed=0, vision=(), text=()):
    config = transformers.BlipConfig(
        text_config=TEXT
        | {"bos_token_id": len(WORDPIECES), "sep_token_id": 3, "encoder_hidden_size": 48}
        | dict(text),
        vision_config=VISION | dict(vision),
    )
    return shaken(transformers.BlipForConditionalGeneration(config), seed=seed)


def write(model, folder: Path, *, photos: dict | None = None, words: Tokenizer | None = None):
    """Write a folder as the hub has them: weights, config.json, preprocessor, tokenizer.json."""
    model.save_pretrained(folder)
    if photos is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(photos))
    (words or bert_words()).save(str(folder / "tokenizer.json"))
    return folder


def bert_words(pieces=WORDPIECES) -> Tokenizer:
    numbers = {piece: number for number, piece in enumerate(pieces)}
    engine = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.add_special_tokens(SPECIALS)
    return engine


def build(config):
    """Make the model of a configuration, with weights as training begins with."""
    kinds = {"blip": transformers.BlipForConditionalGeneration}
    return kinds[config.model_type](config)


def read(model, pixels, words):
    """Logits (B, T, V) and attention (B, L, M, T, P) of transformers' model."""
    image = model.vision_model(pixels).last_hidden_state
    out = model.text_decoder(input_ids=words, encoder_hidden_states=image, output_attentions=True)
    return out.logits, torch.stack(out.cross_attentions, dim=1)


def generate(model, pixels, prompt, *, beam, length):
    """Captions that transformers writes, as ids without START, prompt, END and padding."""
    start = model.config.text_config.bos_token_id
    end = model.config.text_config.sep_token_id
    given = torch.tensor([[start, *prompt, end]] * len(pixels))  # it drops the last one
    ids = model.generate(
        pixel_values=pixels,
        input_ids=given,
        num_beams=beam,
        do_sample=False,
        max_new_tokens=length,
    )
    rows = [row[1 + len(prompt) :] for row in ids.tolist()]
    return [row[: row.index(end)] if end in row else row for row in rows]
