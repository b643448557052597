"""Small captioners as transformers writes them, their weights far from where training begins."""

import json
import re
from importlib.util import find_spec
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


MERGES = [("d", "o"), ("do", "g"), ("Ġ", "dog"), ("Ġ", "a"), ("m", "a"), ("ma", "n")]
GPT2_WORDS = 256 + len(MERGES) + 1
BART_WORDS = 256 + len(MERGES) + 4


def shaken(model, *, seed=0, std=0.15):
    """Draw all weights anew: those that training begins with would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            normed = re.search(r"(?i:norm|ln_)[^.]*\.weight$", name) is not None
            weight.copy_(torch.randn(weight.shape, generator=generator) * std + normed)
    return model.eval()


def blip(*, seed=0, vision=(), text=()):
    config = transformers.BlipConfig(
        text_config=TEXT
        | {"bos_token_id": len(WORDPIECES), "sep_token_id": 3, "encoder_hidden_size": 48}
        | dict(text),
        vision_config=VISION | dict(vision),
    )
    return shaken(transformers.BlipForConditionalGeneration(config), seed=seed)


def vit_gpt2(*, seed=0, width=32, encoder="ViT"):
    """GPT-2 behind a ViT as wide as it is, or with a layer between them."""
    vision = VISION | {"hidden_size": width}
    text = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40, "vocab_size": GPT2_WORDS}
    end = {"bos_token_id": GPT2_WORDS - 1, "eos_token_id": GPT2_WORDS - 1}
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        getattr(transformers, f"{encoder}Config")(**vision),
        transformers.GPT2Config(**text, **end, is_decoder=True, add_cross_attention=True),
    )
    config.decoder_start_token_id = config.pad_token_id = config.eos_token_id = GPT2_WORDS - 1
    return shaken(transformers.VisionEncoderDecoderModel(config), seed=seed)


def vit_bert(*, seed=0, width=32):
    """BERT behind a ViT, as captioners of other languages are made."""
    text = TEXT | {"vocab_size": len(WORDPIECES)}
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VISION | {"hidden_size": width}),
        transformers.BertConfig(**text, is_decoder=True, add_cross_attention=True),
    )
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 2, 3, 0
    return shaken(transformers.VisionEncoderDecoderModel(config), seed=seed)


def git(*, seed=0):
    config = transformers.GitConfig(
        vision_config=VISION, **TEXT | {"vocab_size": len(WORDPIECES)}, bos_token_id=2,
        eos_token_id=3,
    )  # fmt: skip
    return shaken(transformers.GitForCausalLM(config), seed=seed)


def florence(*, seed=0):
    text = {
        "vocab_size": BART_WORDS + 3,
        "d_model": 24,
        "max_position_embeddings": 64,
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")},
        "forced_eos_token_id": None,
    }
    vision = {
        "depths": (1, 1, 2, 1),
        "embed_dim": (8, 16, 24, 32),
        "num_heads": (1, 2, 3, 4),
        "num_groups": (1, 2, 3, 4),
        "window_size": 4,
        "projection_dim": 24,
    }
    config = transformers.Florence2Config(
        text_config=text, vision_config=vision, image_token_id=BART_WORDS
    )
    return shaken(transformers.Florence2ForConditionalGeneration(config), seed=seed, std=0.3)


def write(model, folder: Path, *, photos: dict | None = None, words: Tokenizer | None = None):
    """Write a folder as the hub has them: weights, config.json, preprocessor, tokenizer.json."""
    model.save_pretrained(folder)
    if photos is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(photos))
    kind = model.config.model_type
    if kind == "vision-encoder-decoder":
        kind = model.config.decoder.model_type
    plain = {"gpt2": gpt2_words, "florence2": bart_words}.get(kind, bert_words)
    (words or plain()).save(str(folder / "tokenizer.json"))
    return folder


def bert_words(pieces=WORDPIECES) -> Tokenizer:
    numbers = {piece: number for number, piece in enumerate(pieces)}
    engine = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.add_special_tokens(SPECIALS)
    return engine


def gpt2_words() -> Tokenizer:
    """Bytes, and a few pieces; one mark is start, end and padding."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *("".join(pair) for pair in MERGES), "<|endoftext|>"]
    engine = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, MERGES))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.add_special_tokens(["<|endoftext|>"])
    return engine


def bart_words() -> Tokenizer:
    """As GPT-2's, but with marks of their own before all."""
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*marks, *alphabet, *("".join(pair) for pair in MERGES)]
    engine = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, MERGES))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.add_special_tokens(marks)
    return engine


def build(config):
    """Make the model of a configuration, with weights as training begins with."""
    kinds = {
        "blip": transformers.BlipForConditionalGeneration,
        "florence2": transformers.Florence2ForConditionalGeneration,
        "git": transformers.GitForCausalLM,
        "vision-encoder-decoder": transformers.VisionEncoderDecoderModel,
    }
    return kinds[config.model_type](config)


def names(model):
    """Weights by the names that files have; in newer programs those in memory are others."""
    if find_spec("transformers.core_model_loading") is None:
        return model.state_dict()
    from transformers.core_model_loading import revert_weight_conversion

    return revert_weight_conversion(model, model.state_dict())


def read(model, pixels, words):
    """Logits (B, T, V) and attention (B, L, M, T, P) of transformers' model."""
    if model.config.model_type == "vision-encoder-decoder":
        model.set_attn_implementation("eager")  # the other gives no weights
        out = model(pixel_values=pixels, decoder_input_ids=words, output_attentions=True)
        return out.logits, torch.stack(out.cross_attentions, dim=1)
    if model.config.model_type == "florence2":
        model.set_attn_implementation("eager")
        asked = florence_input(model, pixels)
        out = model(
            pixel_values=pixels, input_ids=asked, decoder_input_ids=words, output_attentions=True
        )
        weights = torch.stack(out.cross_attentions, dim=1)
        rows = asked.shape[1] - asked[0].ne(model.config.image_token_id).sum()
        regions, task = weights[..., 1:rows], weights[..., rows:]
        return out.logits, torch.cat([weights[..., :1], task, regions], dim=-1)
    if model.config.model_type == "git":
        out = model(input_ids=words, pixel_values=pixels, output_attentions=True)
        rows = out.logits.shape[1] - words.shape[1]
        weights = torch.stack(out.attentions, dim=1)
        return out.logits[:, rows:], weights[..., rows:, :rows]
    image = model.vision_model(pixels).last_hidden_state
    out = model.text_decoder(input_ids=words, encoder_hidden_states=image, output_attentions=True)
    return out.logits, torch.stack(out.cross_attentions, dim=1)


def florence_input(model, pixels, question="What does the image describe?"):
    """Ids that its processor would give: the image's, and the task as a sentence."""
    task = bart_words().encode(question).ids
    regions = (pixels.shape[2] // 32) * (pixels.shape[3] // 32) + 1
    row = [model.config.image_token_id] * regions + [0, *task, 2]
    return torch.tensor([row] * len(pixels))


def generate(model, pixels, prompt, *, beam, length):
    """Captions that transformers writes, as ids without START, prompt, END and padding."""
    kind = model.config.model_type
    if kind == "florence2":
        given = torch.tensor([[2, 0, *prompt]] * len(pixels))
        ids = model.generate(
            pixel_values=pixels,
            input_ids=florence_input(model, pixels),
            decoder_input_ids=given,
            num_beams=beam,
            do_sample=False,
            max_new_tokens=length,
        )
        rows = ids[:, given.shape[1] :].tolist()
        return [row[: row.index(2)] if 2 in row else row for row in rows]
    own = model.config.text_config if kind == "blip" else model.config
    first = "decoder_start_token_id" if kind == "vision-encoder-decoder" else "bos_token_id"
    start, end = getattr(own, first), own.sep_token_id if kind == "blip" else own.eos_token_id
    last = [end] * (kind == "blip")  # which BLIP drops
    given = torch.tensor([[start, *prompt, *last]] * len(pixels))
    name = "decoder_input_ids" if kind == "vision-encoder-decoder" else "input_ids"
    how = {"num_beams": beam, "do_sample": False, "max_new_tokens": length, name: given}
    ids = model.generate(pixel_values=pixels, **how)
    rows = [row[1 + len(prompt) :] for row in ids.tolist()]
    return [row[: row.index(end)] if end in row else row for row in rows]
