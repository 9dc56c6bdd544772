import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from erasure_core.errors import BadInput
from erasure_core.gallery.captions import MAX_POSITIONS
from erasure_core.gallery.pictures import STYLES, SUBJECTS, draw
from erasure_core.metrics.clip_score import (
    ClipScorer,
    _processor,
    accuracy,
    accuracy_drop,
    concept_rate,
    score_drop,
)
from erasure_core.metrics.intervals import wilson

GALLERY_CLIP = Path(__file__).parents[3] / "models/gallery/clip"
TEMPLATES = ("a photo of {}", "a sketch of {}")
LABELS = ("cat", "coffee", "rocket")


@pytest.fixture(scope="module")
def folder(tiny_clip) -> Path:
    return tiny_clip


@pytest.fixture(scope="module")
def scorer(folder) -> ClipScorer:
    return ClipScorer(str(folder), None, TEMPLATES)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(31)
    return [
        draw(subject, style, rng) for subject in LABELS for style in STYLES for _ in range(5)
    ]  # 75: more than one batch


def test_score_is_the_cosine_of_the_model_itself(folder, scorer, pictures):
    """Second implementation: CLIPModel.forward, whose logits are the cosine times
    exp(logit_scale).
    """
    prompts = ["a photo of a cat", "a rocket, sketch", "coffee"]
    model, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pixels = (
        torch.from_numpy(np.stack([np.asarray(p) for p in pictures[:3]])).permute(0, 3, 1, 2)
        / 127.5
        - 1
    )
    with torch.no_grad():
        out = model(
            input_ids=tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids,
            pixel_values=pixels,
        )
    expected = out.logits_per_image.diagonal() / model.logit_scale.exp()
    assert_allclose(scorer.scores(pictures[:3], prompts), expected.detach(), atol=1e-6)


def test_batches_do_not_change_the_answer(scorer, pictures):
    prompts = [f"a photo of {LABELS[i % 3]}" for i in range(len(pictures))]
    together = scorer.scores(pictures, prompts)
    assert together.shape == (75,)
    assert together.std() > 1e-3
    assert_allclose(
        together[60:70],
        [scorer.scores([i], [p])[0] for i, p in zip(pictures[60:70], prompts[60:70], strict=True)],
        atol=1e-5,
    )
    assert scorer.name_concepts(pictures, LABELS)[60:70] == [
        scorer.name_concepts([p], LABELS)[0] for p in pictures[60:70]
    ]


def test_naming_picks_the_label_whose_mean_sentence_is_nearest(folder, pictures):
    one, two = (ClipScorer(str(folder), None, [t]) for t in TEMPLATES)
    both = ClipScorer(str(folder), None, TEMPLATES)
    # the sum of the two cosines orders labels as their mean embedding does, up to that mean's
    # length
    text = {
        s: np.stack(
            [s._text_features([s._templates[0].format(label)])[0].numpy() for label in LABELS]
        )
        for s in (one, two)
    }
    centres = text[one] + text[two]
    lengths = np.linalg.norm(centres, axis=1)
    summed = np.stack(
        [
            s.scores(pictures * 1, [s._templates[0].format(label)] * 75)
            for label in LABELS
            for s in (one, two)
        ],
        axis=1,
    )
    cosines = (summed[:, 0::2] + summed[:, 1::2]) / lengths
    assert both.name_concepts(pictures, LABELS) == [LABELS[i] for i in cosines.argmax(axis=1)]
    assert len(set(both.name_concepts(pictures, LABELS))) > 1


def test_long_prompts_are_cut_at_the_tokenizers_limit(scorer, pictures):
    long = "a photo of a cat " * 9
    cut = " ".join(long.split()[: MAX_POSITIONS - 2])  # between BOS and EOS
    assert scorer.scores(pictures[:1], [long]) == scorer.scores(pictures[:1], [cut])


def test_the_models_own_preprocessing_is_used_where_it_says_one(folder, tmp_path, scorer, pictures):
    own = shutil.copytree(folder, tmp_path / "own")
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )  # OpenAI's mean and std
    processor.save_pretrained(own)
    with_mean = ClipScorer(str(own), None, TEMPLATES)
    assert with_mean.settings["preprocessing"] == "CLIPImageProcessor"
    assert scorer.settings["preprocessing"] == "x/127.5-1"
    assert with_mean.settings["weights_sha256"] == scorer.settings["weights_sha256"]
    assert (
        abs(
            with_mean.scores(pictures[:4], ["cat"] * 4) - scorer.scores(pictures[:4], ["cat"] * 4)
        ).max()
        > 1e-3
    )

    same_rule = processor.__class__(
        **{
            **json.loads(processor.to_json_string()),
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
    )
    same_rule.save_pretrained(own)  # (x/255 - 0.5)/0.5 is x/127.5 - 1
    assert_allclose(
        ClipScorer(str(own), None, TEMPLATES).scores(pictures[:4], ["cat"] * 4),
        scorer.scores(pictures[:4], ["cat"] * 4),
        atol=1e-5,
    )


def test_a_processor_as_transformers_writes_it_now_says_it_too(folder, tmp_path, pictures):
    """`CLIPProcessor.save_pretrained` writes no preprocessor_config.json any more."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    old, new = (shutil.copytree(folder, tmp_path / name) for name in ("old", "new"))
    processor.save_pretrained(old)
    CLIPProcessor(processor, AutoTokenizer.from_pretrained(folder)).save_pretrained(new)
    assert not (new / "preprocessor_config.json").exists()
    scorers = [ClipScorer(str(one), None, TEMPLATES) for one in (old, new)]
    assert_array_equal(*(scorer.embed(pictures[:4]) for scorer in scorers))


def test_a_published_clip_that_does_not_say_how_pictures_are_prepared_is_refused(tmp_path):
    """Its means are its own; only small ones are trained here."""
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert _processor(tmp_path, 64) is None
    with pytest.raises(BadInput, match=r"does not say how its pictures are prepared; put its pre"):
        _processor(tmp_path, 224)


def test_larger_pictures_are_brought_to_the_models_size(scorer, pictures):
    big = [p.resize((128, 128), Image.Resampling.NEAREST) for p in pictures[:3]]
    assert_allclose(
        scorer.scores(big, ["cat"] * 3), scorer.scores(pictures[:3], ["cat"] * 3), atol=0.05
    )


def test_broken_weights_are_not_a_score(tiny_clip, tmp_path, pictures):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_clip, tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    scorer = ClipScorer(str(folder), None, TEMPLATES)
    with pytest.raises(ValueError, match="NaN for 2 of 2 images"):
        scorer.scores(pictures[:2], ["cat", "cat"])
    with pytest.raises(ValueError, match="NaN for 2 of 2 images"):
        scorer.name_concepts(pictures[:2], LABELS)


def test_pickled_weights_and_absent_folders_are_refused(folder, tmp_path):
    fetched = rf"local hub cache; .*: hf download nobody/no-such-clip --revision {'0' * 40}$"
    with pytest.raises(BadInput, match=fetched):
        ClipScorer(f"nobody/no-such-clip@{'0' * 40}", None, TEMPLATES)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match="safetensors"):
        ClipScorer(str(tmp_path), None, TEMPLATES)


@pytest.mark.parametrize("templates", [(), ("a photo",), ("a photo of {}", "{} and {}")])
def test_refuses_templates_without_a_place_for_the_label(folder, templates):
    with pytest.raises(BadInput, match="template"):
        ClipScorer(str(folder), None, templates)


def test_refuses_lists_that_do_not_fit(scorer, pictures):
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        scorer.scores(pictures[:2], ["cat"])
    with pytest.raises(ValueError, match="no images"):
        scorer.scores([], [])
    with pytest.raises(ValueError, match="at least two labels"):
        scorer.name_concepts(pictures[:2], ["cat"])
    with pytest.raises(ValueError, match="each once"):
        scorer.name_concepts(pictures[:2], ["cat", "coffee", "cat"])
    with pytest.raises(ValueError, match="image 0 is L"):
        scorer.scores([pictures[0].convert("L")], ["cat"])


def test_concept_rate_counts_what_was_named_so():
    m = concept_rate(
        ["cat", "coffee", "cat", "rocket"],
        "cat",
        settings={"labels": LABELS},
        metric="clip.concept_rate[cat]",
        clusters=None,
    )
    assert (m.value, m.n, m.better, m.settings["labels"]) == (0.5, 4, "lower", LABELS)


def test_drops_are_paired_differences_base_minus_candidate():
    wanted = ["cat", "coffee", "rocket", "cat"]
    # lost two, won one
    base, candidate = (
        ["cat", "coffee", "rocket", "coffee"],
        ["coffee", "coffee", "cat", "cat"],
    )
    drop = accuracy_drop(base, candidate, wanted, settings={}, clusters=None)
    assert (
        drop.value
        == 0.25
        == accuracy(base, wanted, settings={}, clusters=None).value
        - accuracy(candidate, wanted, settings={}, clusters=None).value
    )
    assert drop.low <= -0.25 < 0.7 <= drop.high
    # the interval is of the differences: equally many right is still uncertain when they are
    # different cases
    assert (
        accuracy_drop(
            ["cat", "x"] * 20, ["x", "cat"] * 20, ["cat"] * 40, settings={}, clusters=None
        ).high
        > 0.2
    )
    equal = accuracy_drop(
        ["cat", "x"] * 20, ["cat", "x"] * 20, ["cat"] * 40, settings={}, clusters=None
    )
    assert (-equal.low, equal.value, equal.high) == (wilson(0, 40)[1], 0, wilson(0, 40)[1])


def test_no_drop_of_thirty_is_no_certainty():
    """Nothing was lost, and yet a tenth may be."""
    right, wrong = ["cat"] * 60, ["x"] * 60
    prompts = [f"a cat {i // 2}" for i in range(60)]
    given = {"settings": {}, "clusters": prompts}
    none = accuracy_drop(right, right, right, **given)
    assert (none.low, none.value) == (-none.high, 0)  # a gain may have been missed as well
    assert none.high == pytest.approx(0.1135, abs=1e-4)
    assert none.settings["effective_n"] == 30
    every = accuracy_drop(right, wrong, right, **given)
    assert (every.value, every.high) == (1, 1)
    assert 0.8 < every.low < wilson(30, 30)[0]


@pytest.mark.parametrize(("lost", "high"), [(0, 0.0664), (1, 0.0977), (2, 0.1254), (3, 0.1511)])
def test_each_loss_of_54_raises_the_upper_end(lost, high):
    right = ["cat"] * 54
    given = {"settings": {}, "clusters": range(54)}
    drop = accuracy_drop(right, ["x"] * lost + right[lost:], right, **given)
    assert drop.high == pytest.approx(high, abs=1e-4)
    won = accuracy_drop(["x", *right[1:]], right, right, **given)
    assert won.value < 0 < won.high


def test_an_image_of_which_nobody_says_what_it_shows_is_refused():
    with pytest.raises(ValueError, match="nobody says what image 1 shows"):
        accuracy(["cat", "dog"], ["cat", ""], settings={}, clusters=None)
    with pytest.raises(ValueError, match="nobody says what image 1 shows"):
        accuracy_drop(["cat", "dog"], ["cat", "dog"], ["cat", ""], settings={}, clusters=None)

    scores = score_drop([0.30, 0.20, 0.40], [0.10, 0.20, 0.25], settings={}, clusters=None)
    assert_allclose(scores.value, 0.35 / 3)
    assert scores.better == "lower"


def test_the_gallerys_clip_names_pictures_it_was_not_trained_on():
    rng = np.random.default_rng(40)
    pairs = [(subject, style) for subject in SUBJECTS for style in STYLES for _ in range(4)]
    gallery = ClipScorer(str(GALLERY_CLIP), None, [f"a {style} of {{}}" for style in STYLES])
    named = gallery.name_concepts([draw(*pair, rng) for pair in pairs], list(SUBJECTS))
    assert (
        accuracy(named, [subject for subject, _ in pairs], settings={}, clusters=None).value >= 0.95
    )
