import pytest
import torch

from erasure_core.gallery.pictures import SUBJECTS
from erasure_core.metrics.neighbours import directions, nearest

STATES = {
    "": [1.0, 1, 0, 0],
    "king": [3, 1, 0, 0],
    "queen": [3, 1.5, 0, 0],
    "boat": [1, 1, 4, 0],
    "ship": [1, 1, 3, 0.5],
}


def encode(prompts):
    return torch.tensor([STATES[p] for p in prompts])[:, None].expand(-1, 3, -1)


def test_the_nearest_comes_first_and_the_concept_is_no_neighbour_of_its_own():
    found = nearest(encode, "king", list(STATES)[1:], n=2)
    assert [f.name for f in found] == ["queen", "ship"]
    assert found[0].cosine > 0.9 > found[1].cosine
    assert nearest(encode, "boat", ["king", "queen", "ship"], n=9)[0].name == "ship"


def test_what_all_phrases_share_does_not_count():
    """Shifted by one vector, which no phrase but the empty one is free of, they point as before."""
    names = ["king", "queen", "boat", "ship"]

    def shifted(prompts):
        return encode(prompts) + torch.tensor([[[9.0 if p else 0.0]] for p in prompts])

    assert torch.allclose(directions(encode, names), directions(shifted, names), atol=1e-6)


def test_too_few_or_doubled_phrases_are_refused():
    with pytest.raises(ValueError, match="three phrases or more, each once"):
        directions(encode, ["king", "queen"])
    with pytest.raises(ValueError, match="three phrases or more, each once"):
        directions(encode, ["king", "queen", "queen", "boat"])
    with pytest.raises(ValueError, match="at least one neighbour"):
        nearest(encode, "king", ["queen", "boat"], n=0)


def test_the_embedded_teacher_finds_the_other_person_and_not_itself():
    from erasure_core.network.diffusion import encode_prompts
    from erasure_core.network.models import load_teacher

    teacher = load_teacher("models/gallery/teacher")
    phrases = [subject.phrase for subject in SUBJECTS.values()]
    found = nearest(lambda p: encode_prompts(teacher, p).states, "the astronaut", phrases, n=9)
    assert {f.name for f in found} == set(phrases) - {"the astronaut"}
    cosines = [f.cosine for f in found]
    assert cosines == sorted(cosines, reverse=True)
    assert -1 <= cosines[-1] < cosines[0] < 0.99
