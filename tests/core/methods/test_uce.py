"""UCE against its published formula on a real pipeline: what each projection becomes, where prompts
go, what stays.
"""

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from benchmarks import literal_closed_form as literal
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import uce
from erasure_core.network import closed_form, diffusion
from erasure_core.network.weights import tensors_sha256
from erasure_core.network.work import Work

CAT = Concept(
    name="cat",
    kind="object",
    prompts=("a cat", "a cat in photo style"),
    replacement="a cup of coffee",
    keep=("a poster of a galaxy",),
)
STRONG = uce.Settings(erase_scale=30.0, preserve_scale=20.0, lamb=0.003)


def states(teacher, *prompts: str) -> torch.Tensor:
    return diffusion.encode_prompts(teacher, prompts).states


def subject(teacher, prompt: str, end: str) -> int:
    """Position of the last token of the part of `prompt` up to and with `end`."""
    return len(teacher.tokenizer(prompt[: prompt.index(end) + len(end)]).input_ids) - 2


# --- the published solution
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ["tail", "last", "all"])
@pytest.mark.parametrize("target", ["replacement", "nothing"])
def test_every_projection_becomes_the_published_solution(tiny_teacher, astronaut, rows, target):
    settings = uce.Settings(rows=rows, target=target, erase_scale=1.7, preserve_scale=0.3, lamb=0.6)
    pairs = []
    for concept, name, stand_in in (
        (astronaut, "astronaut", "a photographer"),
        (CAT, "cat", "a cup of coffee"),
    ):
        for prompt in concept.prompts:
            other = (
                ""
                if target == "nothing"
                else prompt.replace(f"the {name}", stand_in)
                .replace(f"a {name}", stand_in)
                .replace(name, stand_in)
            )
            old, new = states(tiny_teacher, prompt, other)
            i, j = (
                subject(tiny_teacher, prompt, name),
                0 if target == "nothing" else subject(tiny_teacher, other, stand_in),
            )
            n = {"tail": 16 - max(i, j), "last": 1, "all": 16}[rows]
            pairs.append((old, new) if rows == "all" else (old[i : i + n], new[j : j + n]))
    kept = list(states(tiny_teacher, "", *astronaut.keep, *CAT.keep))
    if rows == "last":
        at = [
            len(tiny_teacher.tokenizer(p).input_ids) - 2 for p in ("", *astronaut.keep, *CAT.keep)
        ]
        kept = [k[i : i + 1] for k, i in zip(kept, at, strict=True)]
    delta = uce.erase(
        tiny_teacher,
        [astronaut, CAT.model_copy(update={"keep": (*CAT.keep, "a photo of the astronaut")})],
        settings,
        Work(0),
    )
    originals = {name: dict(tiny_teacher.unet.named_parameters())[name] for name in delta.tensors}
    kept = [
        k
        for k, p in zip(kept, ("", *astronaut.keep, *CAT.keep), strict=True)
        if p != "a photo of a cat"
    ]  # it is erased here
    wanted = literal.uce(list(originals.values()), pairs, kept, s=1.7, q=0.3, lamb=0.6)
    for (name, w), edited in zip(originals.items(), wanted, strict=True):
        assert not torch.allclose(w.double(), edited, atol=1e-3)
        assert_close((w + delta.tensors[name]).double(), edited, atol=2e-6, rtol=1e-5)


def test_erased_prompts_are_drawn_as_what_replaces_them_and_kept_ones_as_before(
    tiny_teacher, astronaut
):
    z = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def noise(prompt: str) -> torch.Tensor:
        return diffusion.predict_noise(
            tiny_teacher,
            tiny_teacher.unet,
            z,
            500,
            diffusion.encode_prompts(tiny_teacher, [prompt]).expand(4),
        )

    prompt, stand_in, kept = (
        astronaut.prompts[0],
        astronaut.replaced(astronaut.prompts[0]),
        astronaut.keep[0],
    )
    before, wanted, stays = noise(prompt), noise(stand_in), noise(kept)
    gap = (before - wanted).norm()
    assert gap > 0
    with uce.erase(tiny_teacher, [astronaut], STRONG, Work(0)).applied(tiny_teacher.unet):
        assert (noise(prompt) - wanted).norm() < 0.3 * gap
        assert (noise(kept) - stays).norm() < 0.3 * gap


def test_several_concepts_land_each_on_its_own_replacement(tiny_teacher, astronaut):
    heard = []
    uce.erase(
        tiny_teacher,
        [astronaut, CAT],
        STRONG,
        Work(0, on_step=lambda step, terms: heard.append((step, terms))),
    )
    ((step, terms),) = heard  # one step, however many concepts
    assert (step, set(terms)) == (1, {"remaining"})
    p = closed_form.edit_map(closed_form.demand(tiny_teacher, [astronaut, CAT], STRONG), STRONG)
    for c, t in closed_form.erase_rows(tiny_teacher, [astronaut, CAT], STRONG):
        assert (p.moved(c.double()) - t).norm() < 0.5 * (c - t).norm()
    assert 0 < terms["remaining"] < 0.5


def test_to_last_token_alone_moves_less_than_the_tail(tiny_teacher, astronaut):
    """The 2025 code's row against the 2023 code's: what the padding says of the subject is then
    left as it was.
    """
    moved = {}
    for rows in ("tail", "last"):
        p = closed_form.edit_map(
            closed_form.demand(tiny_teacher, [astronaut], STRONG.model_copy(update={"rows": rows})),
            STRONG,
        )
        old, new = states(
            tiny_teacher, astronaut.prompts[0], astronaut.replaced(astronaut.prompts[0])
        )[:, -3:].double()
        moved[rows] = ((p.moved(old) - new).norm() / (old - new).norm()).item()
    assert moved["tail"] < 0.5 * moved["last"]


def test_the_concept_is_only_hidden(tiny_teacher, astronaut):
    """An honest limit: text states that can be computed make the edited projections say what they
    said before.
    """
    p = closed_form.edit_map(closed_form.demand(tiny_teacher, [astronaut], STRONG), STRONG).matrix()
    c = states(tiny_teacher, astronaut.prompts[0])[0]
    delta = uce.erase(tiny_teacher, [astronaut], STRONG, Work(0))
    for name, w in closed_form.projections(tiny_teacher.unet).items():
        edited = (w + delta.tensors[name]).double()
        said = c.double() @ w.double().T
        assert (c.double() @ edited.T - said).norm() > 0.01 * said.norm()
        assert_close(closed_form.preimage(p, c) @ edited.T, said, atol=1e-3, rtol=1e-3)


# --- the contract
# ---------------------------------------------------------------------------------------------


def test_keys_and_values_change_and_the_teacher_stays(tiny_teacher, astronaut):
    before = tensors_sha256(tiny_teacher.unet.state_dict())
    delta = uce.erase(tiny_teacher, [astronaut], STRONG, Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == uce.declared(tiny_teacher.unet, STRONG)
    assert all("attn2.to_k" in name or "attn2.to_v" in name for name in delta.names)
    assert min(t.abs().max().item() for t in delta.tensors.values()) > 0


def test_nothing_is_drawn(tiny_teacher, astronaut):
    hashes = {uce.erase(tiny_teacher, [astronaut], STRONG, Work(seed)).sha256 for seed in (7, 7, 8)}
    assert len(hashes) == 1


def test_steps_and_preparation(tiny_teacher, astronaut, tmp_path):
    assert uce.steps([astronaut, CAT], STRONG) == 1
    assert uce.prepare(tiny_teacher, [astronaut], STRONG, Work(0, cache=tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_without_a_concept_it_refuses(tiny_teacher):
    with pytest.raises(BadInput, match="no concept"):
        uce.erase(tiny_teacher, [], STRONG, Work(0))


def test_a_prompt_that_its_replacement_makes_too_long_is_refused(tiny_teacher):
    long = CAT.model_copy(
        update={"prompts": ("a small photo of a cat in fine photo style of a poster",)}
    )
    with pytest.raises(BadInput, match="17 tokens with its two markers; this base reads 16"):
        uce.erase(tiny_teacher, [long], STRONG, Work(0))


@pytest.mark.parametrize(
    "bad",
    [
        {"erase_scale": 0},
        {"lamb": float("inf")},
        {"rows": "first"},
        {"target": "art"},
        {"lambda": 1},
        {"method": "rece"},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        uce.Settings.model_validate(bad)


def test_presets_are_the_published_scripts():
    old = uce.Settings()
    assert (old.rows, old.target, old.erase_scale, old.preserve_scale, old.lamb) == (
        "tail",
        "replacement",
        1,
        None,
        0.5,
    )
    assert uce.PRESETS["style"] == old
    assert {kind: preset.target for kind, preset in uce.PRESETS.items()} == {
        "style": "replacement",
        "object": "nothing",
        "explicit": "nothing",
    }
