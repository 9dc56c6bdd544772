import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.gallery.pictures import draw
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.metrics.features import ClipFeatures, Features, VisionFeatures, checked, opened
from erasure_core.metrics.kid import mmd2

RNG = np.random.default_rng(31)
PICTURES = [draw(s, "photo", RNG) for s in ("cat", "coffee", "rocket") for _ in range(4)]


@pytest.fixture(scope="module")
def clip(tiny_clip) -> Features:
    return ClipFeatures(ClipScorer(str(tiny_clip), None, ["a photo of {}"]))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A ResNet of toy size with random weights, as transformers stores it."""
    import torch
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetModel

    folder = tmp_path_factory.mktemp("resnet")
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_channels=3
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ResNetModel(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 64}).save_pretrained(folder)
    return folder


def test_clip_features_are_the_scorers_and_their_square_is_their_width(clip):
    vectors = clip.of(PICTURES)
    assert vectors.dtype == np.float64
    assert_allclose((vectors**2).sum(axis=1), vectors.shape[1], rtol=1e-6)
    assert "templates" not in clip.settings
    assert all(len(h) == 64 for h in clip.settings["weights_sha256"].values())


def test_any_vision_folder_gives_features(resnet):
    features = VisionFeatures(resnet)
    vectors = features.of(PICTURES)
    assert vectors.shape == (len(PICTURES), 12)
    assert vectors.dtype == np.float64
    assert features.name == "resnet"
    assert features.settings["weights_sha256"].keys() == {"model.safetensors"}


def test_a_folder_is_opened_by_what_its_configuration_says(resnet, tiny_clip, clip, tmp_path):
    assert_allclose(opened(resnet).of(PICTURES), VisionFeatures(resnet).of(PICTURES))
    assert opened(resnet).settings["folder"] == str(resnet)
    assert_allclose(opened(tiny_clip).of(PICTURES), clip.of(PICTURES))
    with pytest.raises(BadInput, match=r"holds no config\.json, \*\.safetensors"):
        opened(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(BadInput, match=r"config\.json is not readable"):
        opened(tmp_path)


def test_batches_do_not_change_the_vectors(resnet):
    features = VisionFeatures(resnet)
    many = features.of(PICTURES * 6)  # more than one batch
    assert_allclose(many[: len(PICTURES)], many[-len(PICTURES) :], atol=1e-5)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_that_is_not_whole_is_refused_by_name(resnet, tmp_path, file):
    for path in resnet.iterdir():
        if path.name != file:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match="holds no " + file.replace("model.", r"\*\.")):
        VisionFeatures(tmp_path)


def test_a_folder_may_say_how_pictures_are_prepared_in_the_newer_file(resnet, tmp_path):
    for path in resnet.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    own = tmp_path / "preprocessor_config.json"
    said = {"image_processor": json.loads(own.read_text())}
    (tmp_path / "processor_config.json").write_text(json.dumps(said))
    own.unlink()
    assert_allclose(VisionFeatures(tmp_path).of(PICTURES), VisionFeatures(resnet).of(PICTURES))


def test_weights_that_are_missing_are_not_made_up(resnet, tmp_path):
    for path in resnet.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"depths": [1, 2]}))
    with pytest.raises(BadInput, match="of its weights are missing"):
        VisionFeatures(tmp_path)


def test_pictures_that_are_not_rgb_are_refused(clip, resnet):
    for features in (clip, VisionFeatures(resnet)):
        with pytest.raises(ValueError, match="1 is L"):
            features.of([PICTURES[0], PICTURES[1].convert("L")])
        with pytest.raises(ValueError, match=r"no (images|pictures)"):
            features.of([])


def test_red_for_blue_is_another_picture():
    """The wrong twin: with swapped channels the same pictures lie apart, and by more than other
    crops of the same photographs do.
    """
    gallery = ClipFeatures(ClipScorer("models/gallery/clip", None, ["{}"]))
    swapped = [Image.fromarray(np.asarray(p)[..., ::-1].copy()) for p in PICTURES]
    rng = np.random.default_rng(32)
    others = [draw(s, "photo", rng) for s in ("cat", "coffee", "rocket") for _ in range(4)]
    right = gallery.of(PICTURES)
    assert mmd2(right, gallery.of(swapped)) > mmd2(right, gallery.of(others)) + 0.5


@pytest.mark.parametrize("table", [[], [1.0, 2.0], [[1.0], [float("nan")]], [[]]])
def test_a_table_that_is_none_is_refused(table):
    with pytest.raises(ValueError, match="kid"):
        checked(np.array(table), "kid")
