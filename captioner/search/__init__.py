"""Search for captions: greedy, beam and sampling, written once for any decoder.

Search knows words, hypotheses and probabilities; it never asks which decoder it has, and it carries
no attention: read the winner back with `decoder.forward(..., with_attention=True)`.

A word's probability is the softmax of the decoder's logits over the words that are not forbidden,
whatever the method: temperature, top-k and top-p decide what is drawn, not what is reported.

Each image is searched on its own: those around it in the batch change nothing but the rounding of
the decoder's arithmetic. Of equally likely hypotheses the one with the better parent goes first,
then the one with the lower word id.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captioner.config import SearchConfig
from captioner.model.decoder import Decoder
from captioner.search.beam import beam_search
from captioner.search.hypotheses import Candidates
from captioner.search.walk import likeliest, sampler, walk

__all__ = ["Candidates", "search"]


@torch.inference_mode()
def search(
    decoder: Decoder,
    features: Float[Tensor, "B P D"],
    *,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    forbidden: Sequence[int],
    mask: Bool[Tensor, "B P"] | None = None,
) -> list[Candidates]:
    """Caption every image: `config.beam` candidates by beam search, one by the other methods.

    A hypothesis of `max_words` words is read once more: it is finished if END comes next, and
    otherwise competes as it stands.

    Args:
        decoder: in evaluation mode.
        features: regions of the images, from the encoder.
        config: method and limits.
        start_id: the word every caption is begun with; not part of the result.
        end_id: the word that finishes a caption; not part of the result.
        forbidden: words that are never produced, such as padding, START and unknown.
        mask: True marks a real region.

    Returns:
        Candidates of each image. There are fewer than `beam` only where fewer captions exist.

    Raises:
        ValueError: the decoder is in training mode, so dropout would make captions random.
    """
    if getattr(decoder, "training", False):
        raise ValueError("search needs a decoder in evaluation mode; call .eval() first.")
    state = decoder.init_state(features, mask)
    latest = torch.full((len(features), 1), start_id, device=features.device)
    banned = torch.tensor(list(forbidden), dtype=torch.long, device=features.device)
    if config.method == "beam":
        return beam_search(decoder, state, latest, config=config, end_id=end_id, banned=banned)
    choose = likeliest if config.method == "greedy" else sampler(config)
    return walk(decoder, state, latest, choose, config=config, end_id=end_id, banned=banned)
