"""One matrix for all projections, against the published formula of each; what it moves, what it
keeps, what it only hides.
"""

import math

import pytest
import torch
from torch.testing import assert_close

from benchmarks import literal_closed_form as literal
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.network import closed_form
from erasure_core.network.closed_form import Demand, Edit, Map
from erasure_core.network.diffusion import encode_prompts
from erasure_core.network.weights import read_tensors, tensors_sha256, write_tensors

D = 12
EDIT = Edit(erase_scale=1.7, preserve_scale=0.3, lamb=0.4)
NOTHING = Map(torch.zeros(D, 1, dtype=torch.float64), torch.zeros(1, D, dtype=torch.float64))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def asked(n: int = 3, m: int = 4, q: float = 0.3) -> tuple[Demand, list, list]:
    """A demand with the pairs and the kept rows that it was made of."""
    pairs, kept = [(drawn(n, D, seed=1), drawn(n, D, seed=2))], [drawn(m, D, seed=3)]
    return Demand.of(pairs, q * closed_form.outer(kept)), pairs, kept


# --- the algebra
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 40], ids="{} rows of width 12".format)
def test_every_projection_times_p_is_the_published_solution_for_it(n):
    weights = [drawn(d_out, D, seed=d_out) for d_out in (5, 12, 31)]
    demand, pairs, kept = asked(n)
    p = closed_form.edit_map(demand, EDIT).matrix()
    for w, wanted in zip(
        weights, literal.uce(weights, pairs, kept, s=1.7, q=0.3, lamb=0.4), strict=True
    ):
        assert not torch.allclose(w, wanted, atol=0.1)  # it was another before
        assert_close(w @ p, wanted, atol=1e-12, rtol=1e-12)


def test_p_is_where_the_objective_has_no_gradient():
    w, (demand, pairs, kept) = drawn(7, D, seed=9), asked()
    v = (w @ closed_form.edit_map(demand, EDIT).matrix()).requires_grad_()
    ((c, t),) = pairs
    terms = (
        1.7 * (c @ v.T - t @ w.T).square().sum(),
        0.3 * (kept[0] @ (v - w).T).square().sum(),
        0.4 * (v - w).square().sum(),
    )
    (gradient,) = torch.autograd.grad(sum(terms), v)
    assert gradient.abs().max() < 1e-11


def test_erased_rows_land_on_their_targets_and_orthogonal_rows_stay():
    rows = torch.linalg.qr(drawn(D, D)).Q  # orthonormal
    demand = Demand(rows[:2], rows[2:4], torch.zeros(D, D, dtype=torch.float64))
    assert closed_form.remaining(NOTHING, demand) == pytest.approx(1)
    p = closed_form.edit_map(demand, Edit(erase_scale=3.0, lamb=3e-5))
    assert_close(p.moved(rows[:2]), rows[2:4], atol=1e-4, rtol=0)
    assert_close(p.moved(rows[4:]), rows[4:], atol=1e-9, rtol=0)
    assert closed_form.remaining(p, demand) == pytest.approx(1e-5, rel=1e-3)


def test_half_way_when_ridge_and_scale_are_equal():
    rows = torch.linalg.qr(drawn(D, D)).Q
    demand = Demand(rows[:1], rows[1:2], torch.zeros(D, D, dtype=torch.float64))
    p = closed_form.edit_map(demand, Edit(erase_scale=2.5, lamb=2.5))
    assert_close(p.moved(rows[:1]), (rows[:1] + rows[1:2]) / 2)
    assert closed_form.remaining(p, demand) == pytest.approx(0.5)


def test_without_erase_scale_p_is_the_identity():
    demand, _, _ = asked()
    assert torch.equal(
        closed_form.edit_map(demand, EDIT.model_copy(update={"erase_scale": 0.0})).matrix(),
        torch.eye(D, dtype=torch.float64),
    )


def test_products_with_p_need_no_p():
    p, x = closed_form.edit_map(asked()[0], EDIT), drawn(4, D, seed=6)
    assert_close(p.after(x), x @ p.matrix())
    assert_close(p.moved(x), x @ p.matrix().T)


def test_as_the_ridge_grows_p_goes_to_the_identity_as_one_over_it():
    demand, _, _ = asked()
    away = [
        (closed_form.edit_map(demand, Edit(lamb=lamb)).matrix() - torch.eye(D)).norm().item()
        for lamb in (0.5, 1e6, 1e8)
    ]
    assert away[0] > 0.5
    assert away[2] == pytest.approx(away[1] / 100, rel=1e-3)
    assert away[2] < 1e-5


@pytest.mark.parametrize("n", [1, 3, 5])
def test_the_edit_has_no_more_rank_than_there_are_erased_rows(n):
    demand, _, _ = asked(n)
    change = closed_form.edit_map(demand, EDIT).matrix() - torch.eye(D)
    assert torch.linalg.matrix_rank(change, tol=1e-10).item() == n


def test_what_is_preserved_moves_less_the_more_it_weighs():
    moved = []
    for q in (0.0, 0.1, 1.0, 10.0, 1e6):
        demand, _, kept = asked(q=q)
        moved.append(
            (kept[0] @ (closed_form.edit_map(demand, EDIT).matrix() - torch.eye(D)).T).norm().item()
        )
    assert moved[0] > 0.1
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 1e-5


def test_the_concept_is_still_there_at_the_preimage():
    demand, ((c, _),), _ = asked()
    w, p = drawn(20, D, seed=8), closed_form.edit_map(demand, EDIT).matrix()
    assert (c @ (w @ p).T - c @ w.T).norm() > 0.5 * (
        c @ w.T
    ).norm()  # the edited projection no longer answers to c so
    x = closed_form.preimage(p, c)
    assert_close(x @ (w @ p).T, c @ w.T, atol=1e-10, rtol=1e-10)
    assert not torch.allclose(x, c, atol=0.1)


def clip_like(n: int, d: int) -> torch.Tensor:
    """Rows as a CLIP's last normalisation leaves them: norm sqrt(d), mostly a
    shared mean; float32.
    """
    own = drawn(n, 8, seed=4) @ drawn(8, d, seed=5) * 0.1 + 0.003 * drawn(n, d, seed=6)
    return torch.nn.functional.layer_norm(drawn(1, d, seed=7) + own, (d,)).float()


def test_float64_is_right_where_the_float32_inverse_of_the_published_code_is_not():
    d, rows = 96, clip_like(60, 96)
    c, t, w = rows[:20], rows[20:40], drawn(40, d).float()
    demand = Demand.of([(c, t)], closed_form.outer([rows[40:]]))
    edit = Edit(lamb=1e-3)
    (wanted,) = literal.uce([w], [(c, t)], [rows[40:]], s=1, q=1, lamb=1e-3)
    single = (1e-3 * w + (w @ t.T) @ c + (w @ rows[40:].T) @ rows[40:]) @ torch.inverse(
        1e-3 * torch.eye(d) + c.T @ c + rows[40:].T @ rows[40:]
    )

    def error(edited: torch.Tensor) -> float:
        return ((edited - wanted).abs().max() / wanted.abs().max()).item()

    ours = w + closed_form.change({"w": w}, closed_form.edit_map(demand, edit))["w"]
    assert error(ours) < 2e-7
    assert error(single) > 1e-4


# --- many rows
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3,), (5, 4, 3), (40,), (100, 1, 7, 200, 30)], ids=str)
def test_condensed_rows_ask_the_same_with_at_most_d_of_them(sizes):
    pairs = [(drawn(n, D, seed=i), drawn(n, D, seed=50 + i)) for i, n in enumerate(sizes)]
    c, t, rest = closed_form.condensed(iter(pairs))
    assert len(c) == len(t) == min(D, sum(sizes))
    whole, targets = (torch.cat(part) for part in zip(*pairs, strict=True))
    assert_close(c.T @ c, whole.T @ whole, atol=1e-10, rtol=1e-12)
    assert_close(t.T @ c, targets.T @ whole, atol=1e-10, rtol=1e-12)
    told = t.T @ t if rest is None else t.T @ t + rest
    assert_close(told, targets.T @ targets, atol=1e-10, rtol=1e-12)


def test_what_remains_is_that_of_every_row_however_many():
    c, t = drawn(5 * D, D, seed=1), drawn(5 * D, D, seed=2)
    p = closed_form.edit_map(Demand.of([(c, t)], torch.zeros(D, D)), Edit(lamb=0.1))
    left = float((p.moved(c) - t).norm() / (c - t).norm())
    assert closed_form.remaining(p, Demand.of([(c, t)], torch.zeros(D, D))) == pytest.approx(left)


def test_rows_that_are_their_targets_have_nowhere_to_go():
    c = drawn(2, D, seed=1)
    assert closed_form.remaining(NOTHING, Demand(c, c, torch.zeros(D, D))) == 0


def test_rows_of_low_rank_are_condensed_too():
    c = drawn(50, 2) @ drawn(2, D, seed=1)
    t = drawn(50, D, seed=2)
    rows, targets, _ = closed_form.condensed([(c, t)])
    assert_close(rows.T @ rows, c.T @ c, atol=1e-10, rtol=1e-12)
    assert_close(targets.T @ rows, t.T @ c, atol=1e-10, rtol=1e-12)


def test_nothing_to_condense_is_refused():
    with pytest.raises(BadInput, match="at least one"):
        closed_form.condensed([])


# --- the projections
# ---------------------------------------------------------------------------------------------


def test_change_is_w_times_p_minus_w_for_each_weight():
    weights = {"a": drawn(5, D).float(), "b": drawn(9, D, seed=1).float()}
    p = drawn(D, D, seed=2)
    changes = closed_form.change(weights, Map.of(p))
    assert list(changes) == ["a", "b"]
    for name, w in weights.items():
        assert changes[name].dtype == torch.float32
        assert_close(
            changes[name], (w.double() @ p - w.double()).float(), atol=1e-7, rtol=2e-7
        )  # rounded once


@pytest.mark.parametrize("rank", [1, 5, 6, 12, 30])  # of d = 12: thin products up to 5
def test_change_is_the_same_whatever_the_rank(rank):
    p = Map(drawn(D, rank, seed=3), drawn(rank, D, seed=4))
    (change,) = closed_form.change({"a": (w := drawn(9, D, seed=1))}, p).values()
    assert_close(change, w @ p.matrix() - w, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("ranks", [(0, 2), (2, 3), (7, 8), (12, 12)])
def test_one_edit_after_another_is_the_product_of_their_matrices(ranks):
    first, step = (
        Map(drawn(D, r, seed=r), drawn(r, D, seed=50 + r + i)) for i, r in enumerate(ranks)
    )
    both = first.then(step)
    assert_close(both.matrix(), first.matrix() @ step.matrix(), atol=1e-10, rtol=1e-10)
    assert both.rank == min(sum(ranks), D)


def test_a_delta_of_p_belongs_to_the_unet_and_makes_it_answer_so(tiny_teacher):
    unet, p = tiny_teacher.unet, torch.eye(32, dtype=torch.float64) + 0.1 * drawn(32, 32)
    before, originals = (
        tensors_sha256(unet.state_dict()),
        {n: w.clone() for n, w in closed_form.projections(unet).items()},
    )
    delta = closed_form.delta(unet, Map.of(p))
    assert tensors_sha256(unet.state_dict()) == before == delta.base_sha256
    assert delta.names == {
        n
        for n in dict(unet.named_parameters())
        if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }
    with delta.applied(unet):
        for name, w in closed_form.projections(unet).items():
            assert_close(w.double(), originals[name].double() @ p, atol=1e-6, rtol=1e-5)


def test_gram_is_the_sum_over_the_projections():
    weights = {name: drawn(n, D, seed=n).float() for name, n in (("a", 5), ("b", 31))}
    wanted = sum(w.double().T @ w.double() for w in weights.values())
    assert_close(closed_form.gram(weights), wanted, atol=1e-12, rtol=1e-12)


def test_gram_is_kept_by_content_on_disk(tmp_path):
    weights = {"a": drawn(5, D, seed=21).float()}
    gram = closed_form.gram(weights, tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    assert torch.equal(read_tensors(file)[0]["gram"], gram)
    write_tensors(
        file, {"gram": gram + 1}, {}
    )  # so that what is read can be told from what is computed
    assert torch.equal(closed_form.gram(weights, tmp_path / "new"), gram + 1)
    assert torch.equal(closed_form.gram(weights), gram)
    assert_close(
        closed_form.gram({"a": 2 * weights["a"]}, tmp_path / "new"), 4 * gram
    )  # other content, other file
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize("d", [1, 2, 3, 5, 12, 17])
def test_outer_is_the_whole_symmetric_sum_at_any_width(d):
    batches = [drawn(n, d, seed=n) for n in (1, 7)]
    assert_close(
        closed_form.outer(b.float() for b in batches),
        sum(b.float().double().T @ b.float().double() for b in batches),
    )


# --- the text states
# ---------------------------------------------------------------------------------------------

CAT = Concept(
    name="cat",
    kind="object",
    prompts=("a photo of a cat", "a cat in photo style"),
    replacement="a cup of coffee",
)


def pairs_of(teacher, concept, **changes):
    return list(closed_form.erase_rows(teacher, [concept], Edit(**changes)))


def position(teacher, prompt: str, word: str) -> int:
    words = teacher.tokenizer.convert_ids_to_tokens(teacher.tokenizer(prompt).input_ids)
    return max(i for i, w in enumerate(words) if w == f"{word}</w>")


@pytest.mark.parametrize("i", [0, 1])
def test_tail_begins_at_the_last_subject_token_of_both_prompts_and_is_cut_to_the_shorter(
    tiny_teacher, i
):
    prompt = CAT.prompts[i]
    stand_in = prompt.replace("a cat", "a cup of coffee")
    old, new = (encode_prompts(tiny_teacher, [text]).states[0] for text in (prompt, stand_in))
    at_old, at_new = (
        position(tiny_teacher, prompt, "cat"),
        position(tiny_teacher, stand_in, "coffee"),
    )
    assert at_new == at_old + 2  # so that pairing by position alone would be wrong
    c, t = pairs_of(tiny_teacher, CAT)[i]
    assert len(c) == len(t) == 16 - at_new
    assert_close(c, old[at_old : at_old + len(c)])
    assert_close(t, new[at_new:])


def test_a_container_that_the_replacement_says_itself_is_the_subjects(tiny_teacher):
    """ "cup" after "cat" goes with it, so that what both prompts share begins behind it."""
    prompt, stand_in = "a cat cup with a rocket", "a cup of coffee with a rocket"
    concept = CAT.model_copy(update={"prompts": (prompt,)})
    assert concept.replaced(prompt) == stand_in
    old, new = (encode_prompts(tiny_teacher, [text]).states[0] for text in (prompt, stand_in))
    ((c, t),) = pairs_of(tiny_teacher, concept)
    at_new = position(tiny_teacher, stand_in, "coffee")
    assert_close(c, old[position(tiny_teacher, prompt, "cup") :][: len(c)])
    assert_close(t, new[at_new:])


@pytest.mark.parametrize("words", [("cat", "astronaut"), ("astronaut", "cat")])
def test_what_a_prompt_shows_beside_its_concept_is_not_asked_for_where_it_goes_too(
    tiny_teacher, astronaut, words
):
    """Each begins at its own subject, whichever comes first."""
    prompt = f"the {words[0]} with the {words[1]}"
    told = {"cat": "a rocket", "astronaut": "a photographer"}
    stand_in = f"{told[words[0]]} with {told[words[1]]}"
    concepts = [
        astronaut.model_copy(update={"prompts": (prompt,), "replacement": "a photographer"}),
        CAT.model_copy(update={"prompts": (prompt,), "replacement": "a rocket"}),
    ]
    old, new = (encode_prompts(tiny_teacher, [text]).states[0] for text in (prompt, stand_in))
    rows = list(closed_form.erase_rows(tiny_teacher, concepts, Edit()))
    for (c, t), name in zip(rows, ("astronaut", "cat"), strict=True):
        at_new = position(tiny_teacher, stand_in, told[name].split()[-1])
        assert_close(c, old[position(tiny_teacher, prompt, name) :][: len(c)])
        assert_close(t, new[at_new:][: len(t)])


def test_last_is_the_first_row_of_the_tail_and_all_is_every_position(tiny_teacher):
    tail, last, whole = (
        pairs_of(tiny_teacher, CAT, rows=rows)[0] for rows in ("tail", "last", "all")
    )
    for k in range(2):
        assert_close(last[k], tail[k][:1])
        assert len(whole[k]) == 16
    assert_close(whole[0], encode_prompts(tiny_teacher, [CAT.prompts[0]]).states[0])


def test_a_prompt_that_does_not_name_the_concept_ends_with_its_last_word(tiny_teacher):
    concept = Concept(
        name="cat", kind="object", prompts=("a photo of a rocket",), replacement="a galaxy"
    )
    ((c, t),) = pairs_of(tiny_teacher, concept, rows="last")
    old, new = (
        encode_prompts(tiny_teacher, [text]).states[0] for text in (concept.prompts[0], "a galaxy")
    )
    assert_close(c[0], old[position(tiny_teacher, concept.prompts[0], "rocket")])
    assert_close(t[0], new[2])


def test_target_nothing_is_the_empty_prompt_from_its_start_marker_on(tiny_teacher):
    nothing = encode_prompts(tiny_teacher, [""]).states[0]
    c, t = pairs_of(tiny_teacher, CAT, target="nothing")[0]
    assert_close(t, nothing[: len(c)])
    assert len(c) == 16 - position(tiny_teacher, CAT.prompts[0], "cat")


def test_padding_behind_a_prompt_tells_what_it_was_about(tiny_teacher):
    """Why the tail is erased: those rows are no idle padding, they differ from one subject to
    another.
    """
    of_cat, of_galaxy = encode_prompts(
        tiny_teacher, ["a photo of a cat", "a photo of a galaxy"]
    ).states
    assert (of_cat[-1] - of_galaxy[-1]).norm() > 0.01 * of_cat[-1].norm()
    c, _ = pairs_of(tiny_teacher, CAT.model_copy(update={"replacement": "a galaxy"}))[0]
    assert_close(c[-1], of_cat[-1])


def test_the_empty_prompt_and_the_kept_ones_are_preserved_and_weigh_as_the_2023_code_says(
    tiny_teacher, astronaut
):
    states = encode_prompts(tiny_teacher, ["", *astronaut.keep]).states.double().flatten(0, 1)
    for given, p in ((None, 1 / 3), (0.7, 0.7), (0.0, 0.0)):
        demand = closed_form.demand(tiny_teacher, [astronaut], Edit(preserve_scale=given))
        assert_close(demand.kept, p * states.T @ states, atol=1e-9, rtol=1e-9)
    crowd = [
        f"a {style} of a {word}"
        for style in ("photo", "sketch", "poster")
        for word in ("cat", "rocket", "galaxy", "retina")
    ]
    many = astronaut.model_copy(update={"keep": (*crowd, *crowd)})  # named twice, they count once
    states = encode_prompts(tiny_teacher, ["", *crowd]).states.double().flatten(0, 1)
    assert_close(
        closed_form.demand(tiny_teacher, [many], Edit()).kept,
        0.1 * states.T @ states,
        atol=1e-9,
        rtol=1e-9,
    )
    with_tokens = closed_form.demand(
        tiny_teacher, [astronaut], Edit(rows="last", preserve_scale=1)
    ).kept
    at = [
        0,
        *(len(tiny_teacher.tokenizer(p).input_ids) - 2 for p in astronaut.keep),
    ]  # the start marker stands for nothing
    last = torch.stack(
        [
            encode_prompts(tiny_teacher, [p]).states[0, i]
            for p, i in zip(("", *astronaut.keep), at, strict=True)
        ]
    ).double()
    assert_close(with_tokens, last.T @ last, atol=1e-9, rtol=1e-9)


def test_many_prompts_are_taken_in_batches_and_none_is_lost(tiny_teacher, astronaut, monkeypatch):
    whole = closed_form.demand(tiny_teacher, [astronaut, CAT], Edit())
    monkeypatch.setattr(closed_form, "BATCH", 1)
    assert len(list(closed_form.erase_rows(tiny_teacher, [astronaut, CAT], Edit()))) == 4
    pieces = closed_form.demand(tiny_teacher, [astronaut, CAT], Edit())
    assert_close(pieces.kept, whole.kept, atol=1e-4, rtol=1e-4)
    assert_close(pieces.rows.T @ pieces.rows, whole.rows.T @ whole.rows, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        {"erase_scale": 0},
        {"lamb": 0},
        {"lamb": math.nan},
        {"preserve_scale": -1},
        {"rows": "some"},
        {"ridge": 1},
    ],
)
def test_bad_edits_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Edit.model_validate(bad)


def test_a_ridge_below_rounding_is_one_line():
    a = torch.full((2, 2), 1e20, dtype=torch.float64) + torch.eye(2, dtype=torch.float64)
    with pytest.raises(BadInput, match=r"the largest 1e.20, leave nothing of its ridge"):
        closed_form.solved(a, torch.ones(2, 1, dtype=torch.float64))
