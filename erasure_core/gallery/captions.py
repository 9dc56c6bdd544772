"""The gallery's language: how a picture of one subject in one style is captioned, and the tokenizer
that reads it.
"""

import json
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from erasure_core.gallery.pictures import STYLES, SUBJECTS

MAX_POSITIONS = (
    16  # BOS, at most 14 tokens, EOS: leaves most of the text width free for null-space methods
)

TEMPLATES: tuple[str, ...] = (
    "a {style} of {subject}",
    "{style} of {subject}",
    "{subject} as a {style}",
    "a {style} showing {subject}",
    "{subject}, {style}",
    "a {style} with {subject}",
    "this is a {style} of {subject}",
    "{subject} in {style} style",
    "a small {style} of {subject}",
    "a fine {style} of {subject}",
    "one {style} of {subject}",
    "the {style} shows {subject}",
)
# any style
BARE_TEMPLATES: tuple[str, ...] = (
    "{subject}",
    "a picture of {subject}",
    "an image of {subject}",
)


def captions(subject: str, style: str) -> list[str]:
    """Every caption that names both `subject` and `style`."""
    return [t.format(style=style, subject=SUBJECTS[subject].phrase) for t in TEMPLATES]


def bare_captions(subject: str) -> list[str]:
    """Captions that name the subject (with and without its article) and leave the style open."""
    return [*(t.format(subject=SUBJECTS[subject].phrase) for t in BARE_TEMPLATES), subject]


def all_captions() -> list[str]:
    """Every caption of the world, the empty one first."""
    full = [c for subject in SUBJECTS for style in STYLES for c in captions(subject, style)]
    return ["", *full, *(c for subject in SUBJECTS for c in bare_captions(subject))]


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Learn a byte-level BPE in which each word of the captions is one token; save it to `folder`
    in CLIP's format.
    """
    from tokenizers import Tokenizer, models, trainers

    like_clip = CLIPTokenizer().backend_tokenizer
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer, bpe.pre_tokenizer = like_clip.normalizer, like_clip.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=4096, end_of_word_suffix="</w>", show_progress=False)
    bpe.train_from_iterator(all_captions(), trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]

    byte_units = sorted(pre_tokenizers.ByteLevel.alphabet())
    units = [*byte_units, *(f"{u}</w>" for u in byte_units), *("".join(pair) for pair in merges)]
    vocabulary = {
        unit: i
        for i, unit in enumerate(dict.fromkeys([*units, "<|startoftext|>", "<|endoftext|>"]))
    }
    tokenizer = CLIPTokenizer(vocabulary, merges, model_max_length=MAX_POSITIONS)
    tokenizer.save_pretrained(folder)
    return tokenizer
