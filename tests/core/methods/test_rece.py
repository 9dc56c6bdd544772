"""RECE in d x d matrices, against the published loop over every layer and epoch."""

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from benchmarks import literal_closed_form as literal
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import rece
from erasure_core.network import closed_form, diffusion
from erasure_core.network.weights import tensors_sha256
from erasure_core.network.work import Work

D = 12
CAT = Concept(
    name="cat",
    kind="object",
    prompts=("a cat", "a cat in photo style"),
    replacement="a cup of coffee",
    keep=("a poster of a galaxy",),
)
FIRST = {"target": "nothing", "preserve_scale": 0.9, "lamb": 0.6}


def settings(**changes) -> rece.Settings:
    return rece.Settings.model_validate(
        {
            "erase_scale": 1.7,
            "preserve_scale": 0.3,
            "lamb": 0.2,
            "lambda_r": 0.05,
            "first": FIRST,
            **changes,
        }
    )


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def edited(n: int) -> tuple[list[torch.Tensor], torch.Tensor, rece.Edited, list]:
    """Projections, an edit P of them, what RECE makes of it, and n rows with targets."""
    weights, pairs = (
        [drawn(d_out, D, seed=d_out) for d_out in (7, 12, 31)],
        [(drawn(n, D, seed=1), drawn(n, D, seed=2))],
    )
    demand = closed_form.Demand.of(pairs, 0.4 * torch.eye(D, dtype=torch.float64))
    step = closed_form.edit_map(demand, closed_form.Edit())
    return weights, step.matrix(), rece.Edited.nothing(closed_form.outer(weights)).then(step), pairs


# --- the derived rows
# ---------------------------------------------------------------------------------------------


def test_what_is_known_of_the_projections_follows_every_edit():
    weights, p, so_far, _ = edited(3)
    other = closed_form.Map(drawn(D, 2, seed=5), drawn(2, D, seed=6))
    both = p @ other.matrix()
    after = so_far.then(other)
    assert_close(after.p, both)
    assert_close(after.gram, sum(w.T @ w for w in weights))
    assert_close(after.pgp, sum((w @ both).T @ (w @ both) for w in weights))


@pytest.mark.parametrize("n", [1, 5])
def test_derived_rows_are_the_published_ones(n):
    weights, p, so_far, pairs = edited(n)
    ((expected, _),) = literal.derived(weights, [w @ p for w in weights], pairs, lambda_r=0.3)
    rows = rece.derive(so_far, pairs[0][0], 0.3)
    assert not torch.allclose(rows, pairs[0][0], atol=0.1)
    assert_close(rows, expected, atol=1e-12, rtol=1e-10)


def test_derived_rows_are_where_their_objective_has_no_gradient():
    weights, p, so_far, ((c, _),) = edited(3)
    x = rece.derive(so_far, c, 0.3).requires_grad_()
    objective = (
        sum((x @ (w @ p).T - c @ w.T).square().sum() for w in weights) + 0.3 * x.square().sum()
    )
    (gradient,) = torch.autograd.grad(objective, x)
    assert gradient.abs().max() < 1e-10


def test_without_pull_to_zero_they_are_the_preimage_and_with_it_they_are_shorter():
    _, p, so_far, ((c, _),) = edited(3)
    assert_close(rece.derive(so_far, c, 1e-12), closed_form.preimage(p, c), atol=1e-8, rtol=1e-8)
    lengths = [
        rece.derive(so_far, c, lambda_r).norm().item() for lambda_r in (1e-6, 1.0, 100.0, 1e9)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 1e-4


def test_nothing_is_derived_from_an_unedited_model_but_the_concept_itself():
    weights, _, _, ((c, _),) = edited(3)
    assert_close(
        rece.derive(rece.Edited.nothing(closed_form.outer(weights)), c, 1e-12),
        c,
        atol=1e-8,
        rtol=1e-8,
    )


# --- the published loop
# ---------------------------------------------------------------------------------------------


def literal_rece(
    teacher, concept: Concept, chosen: rece.Settings
) -> tuple[list[str], list[torch.Tensor]]:
    """The published algorithm on the pipeline, rows taken by hand: names and edited projections."""
    projections = {
        n: w
        for n, w in teacher.unet.named_parameters()
        if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }
    weights = list(projections.values())
    nothing = diffusion.encode_prompts(teacher, [""]).states[0]
    kept = [nothing, *diffusion.encode_prompts(teacher, concept.keep).states]
    tails, whole = [], []
    for prompt in concept.prompts:
        old, new = diffusion.encode_prompts(teacher, [prompt, concept.replaced(prompt)]).states
        at = len(teacher.tokenizer(prompt.partition(concept.name)[0] + concept.name).input_ids) - 2
        tails.append((old[at:], nothing[: len(old) - at]))
        whole.append((old, nothing if chosen.target == "nothing" else new))
    begun = weights
    if chosen.first:
        begun = literal.uce(
            weights, tails, kept, s=1, q=FIRST["preserve_scale"], lamb=FIRST["lamb"]
        )
    scales = {"s": chosen.erase_scale, "q": chosen.preserve_scale, "lamb": chosen.lamb}
    return list(projections), literal.rece(
        weights, begun, whole, kept, **scales, lambda_r=chosen.lambda_r, epochs=chosen.epochs
    )


VARIANTS = [
    {},
    {"first": None},
    {"target": "replacement"},
    {"epochs": 1},
    {"lambda_r": 1e-3},
    {"target": "replacement", "first": None},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_projection_becomes_the_published_one(tiny_teacher, changes):
    chosen = settings(**changes)
    names, wanted = literal_rece(tiny_teacher, CAT, chosen)
    delta = rece.erase(tiny_teacher, [CAT], chosen, Work(0))
    originals = dict(tiny_teacher.unet.named_parameters())
    assert chosen.epochs == changes.get("epochs", 3)
    for name, w in zip(names, wanted, strict=True):
        assert not torch.allclose(originals[name].double(), w, atol=1e-3)
        assert_close((originals[name] + delta.tensors[name]).double(), w, atol=5e-6, rtol=1e-5)


def test_each_epoch_erases_what_the_one_before_had_left_within_reach(tiny_teacher):
    """After UCE the derived rows show the concept; after an epoch those rows no longer do, they lie
    near their targets.
    """
    chosen = settings(erase_scale=30.0, epochs=1, lambda_r=1e-7)
    asked, first = (
        closed_form.demand(tiny_teacher, [CAT], edit) for edit in (chosen, chosen.first)
    )
    base = rece.Edited.nothing(closed_form.gram(closed_form.projections(tiny_teacher.unet)))
    before = base.then(closed_form.edit_map(first, chosen.first))
    rows = rece.derive(before, asked.rows, chosen.lambda_r)

    def nearness(p: torch.Tensor) -> float:
        """Below 1: what the projections make of the derived rows is nearer to the concept than to
        its target.
        """
        return ((rows @ p.T - asked.rows).norm() / (rows @ p.T - asked.targets).norm()).item()

    assert nearness(before.p) < 0.2  # what UCE left within reach
    after, remaining = rece.one_epoch(before, asked, chosen)
    assert nearness(after.p) > 1
    assert remaining < 0.2


def test_an_epoch_carries_the_concept_back_unless_it_is_held(tiny_teacher):
    """Ours. What UCE moved to its target, an epoch that speaks of derived rows alone may move away
    from there.
    """
    asked, edit = closed_form.demand(tiny_teacher, [CAT], settings()), settings().first
    base = rece.Edited.nothing(closed_form.gram(closed_form.projections(tiny_teacher.unet)))
    before = base.then(closed_form.edit_map(closed_form.demand(tiny_teacher, [CAT], edit), edit))
    drift = {}
    for hold in (0.0, 0.4, 40.0):
        after, _ = rece.one_epoch(before, asked, settings(hold=hold))
        drift[hold] = (asked.rows @ (after.p - before.p).T).norm().item()
    assert drift[0.0] > drift[0.4] > drift[40.0]
    assert drift[40.0] < 0.1 * drift[0.0]


def test_holding_preserves_what_the_edit_so_far_makes_of_the_concept():
    """By the published formula, with the concept's rows among the preserved ones."""
    weights, _, so_far, pairs = edited(3)
    asked = closed_form.Demand(*pairs[0], 0.3 * torch.eye(D, dtype=torch.float64))
    after, _ = rece.one_epoch(so_far, asked, settings(hold=0.7))
    begun = [w @ so_far.p for w in weights]
    derived, kept = (
        literal.derived(weights, begun, pairs, lambda_r=0.05),
        [(0.3 / 0.7) ** 0.5 * torch.eye(D, dtype=torch.float64), pairs[0][0]],
    )
    for w, wanted in zip(
        weights, literal.uce(begun, derived, kept, s=1.7, q=0.7, lamb=0.2), strict=True
    ):
        assert_close(w @ after.p, wanted, atol=1e-10, rtol=1e-10)


# --- the contract
# ---------------------------------------------------------------------------------------------


def test_keys_and_values_change_and_the_teacher_stays(tiny_teacher, astronaut):
    before = tensors_sha256(tiny_teacher.unet.state_dict())
    delta = rece.erase(tiny_teacher, [astronaut, CAT], settings(), Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == rece.declared(tiny_teacher.unet, settings())
    assert all("attn2.to_k" in name or "attn2.to_v" in name for name in delta.names)
    assert min(t.abs().max().item() for t in delta.tensors.values()) > 0


def test_nothing_is_drawn(tiny_teacher, astronaut):
    hashes = {
        rece.erase(tiny_teacher, [astronaut, CAT], settings(), Work(seed)).sha256
        for seed in (7, 7, 8)
    }
    assert len(hashes) == 1


def test_what_was_prepared_changes_nothing_and_is_kept_by_content(
    tiny_teacher, astronaut, tmp_path
):
    prepared = rece.prepare(tiny_teacher, [astronaut], settings(), Work(0, cache=tmp_path))
    assert_close(
        prepared,
        sum(w.double().T @ w.double() for w in closed_form.projections(tiny_teacher.unet).values()),
        atol=1e-9,
        rtol=1e-9,
    )
    delta = rece.erase(tiny_teacher, [astronaut], settings(), Work(0), prepared=prepared)
    assert delta.sha256 == rece.erase(tiny_teacher, [astronaut], settings(), Work(0)).sha256
    other = rece.erase(tiny_teacher, [astronaut], settings(), Work(0), prepared=2 * prepared)
    assert other.sha256 != delta.sha256  # it is used


def test_each_epoch_is_told_and_a_run_that_is_stopped_and_begun_again_ends_the_same(
    tiny_teacher, astronaut
):
    heard = []
    whole = rece.erase(
        tiny_teacher,
        [astronaut],
        settings(),
        Work(0, on_step=lambda step, terms: heard.append((step, set(terms)))),
    )
    assert heard == [(1, {"remaining"}), (2, {"remaining"}), (3, {"remaining"})]
    assert rece.steps([astronaut, CAT], settings()) == 3

    def stop(step, terms):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rece.erase(tiny_teacher, [astronaut], settings(), Work(0, on_step=stop))
    assert rece.erase(tiny_teacher, [astronaut], settings(), Work(0)).sha256 == whole.sha256


def test_without_a_concept_it_refuses(tiny_teacher):
    with pytest.raises(BadInput, match="no concept"):
        rece.erase(tiny_teacher, [], settings(), Work(0))


@pytest.mark.parametrize(
    "bad",
    [
        {"lambda_r": 0},
        {"epochs": 0},
        {"first": {"rows": "some"}},
        {"first": {"lambda_r": 1}},
        {"lambdar": 1},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        settings(**bad)


def test_default_is_the_papers_preset_for_nudity():
    paper = rece.Settings()
    assert (paper.lambda_r, paper.epochs, paper.lamb, paper.preserve_scale, paper.erase_scale) == (
        0.1,
        3,
        0.1,
        0.1,
        1,
    )
    assert (
        paper.rows,
        paper.target,
        paper.first.rows,
        paper.first.target,
        paper.first.preserve_scale,
    ) == (
        "all",
        "nothing",
        "tail",
        "nothing",
        1,
    )
    assert rece.PRESETS["explicit"] == paper
    assert (
        rece.PRESETS["style"].lambda_r,
        rece.PRESETS["style"].epochs,
        rece.PRESETS["object"].lambda_r,
    ) == (1e-3, 1, 0.1)
