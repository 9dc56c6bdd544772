"""Attack what a user names: a version, or a folder with the request that it should honour."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from erasure_core import attacks
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, may_mean, together
from erasure_core.law.gates import Tier
from erasure_core.law.prompts import kept_rows, read_prompt_set
from erasure_core.network.models import Teacher
from erasure_core.planning.params import Params
from erasure_core.planning.plan import BASE, check_styles
from erasure_core.planning.policy import WORD_METRICS
from tasks.book.door import open_book
from tasks.evidence.attack import Shown, attack_model, facts, write_sheets
from tasks.evidence.instruments import Instruments
from tasks.evidence.measure import check_names, labels_of
from tasks.home import Home
from tasks.release.resolve import (
    is_version,
    open_model,
    resolve_model,
    unedited,
    version_named,
)
from tasks.requests.named import read_named


def attack_named(
    model: str,
    params: Params,
    home: Home,
    names: list[str],
    budget: Tier,
    concept: str | None,
    request: str | None,
    out: Path | None,
) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """The base that the attacker has, and concept -> the results of each attack on it; sheets of
    pictures in `out`/<concept>. The base is what the model was before; see `unedited`.

    Raises:
        BadInput: There is no such model, concept, attack or budget, the model was not made from
            the base, the policy has no limits for the concept's kind or none by which a picture
            could be judged, or the kept rows show nothing that a picture could be named by.
        ContentChanged: The base or the version is no longer what was recorded.
    """
    attacks.chosen(names), attacks.budget_of(budget)  # before anything is loaded
    concepts = _concepts(model, params, home, concept, request)
    params.policy.check_kinds(concepts)  # pictures are judged by what limits these
    for kind in {one.kind for one in concepts if not params.policy.sees(one.kind)}:
        raise BadInput(
            f"policy.targets.{kind} limits neither of {', '.join(WORD_METRICS)}, by which pictures "
            f"of attacks are judged; limit one of them"
        )
    shown = _shown(params, concepts)
    before = unedited(model, params, home)
    base, victim = (open_model(m) for m in (before, resolve_model(model, params, home)))
    check_edit(model, victim, base)
    instruments, found = Instruments.of(params), {}
    for one in concepts:
        attacked = attack_model(base, victim, one, params, shown, names, budget, instruments)
        found[one.name] = [facts(result) for result in attacked.results]
        if out is not None:
            write_sheets(attacked, out / one.slug)
    return before, found


def check_edit(model: str, victim: Teacher, base: Teacher) -> None:
    """Refuse a model that cannot have been made from the base: an attacker compares their weights.

    Raises:
        BadInput: Names the first weight that the two do not have alike.
    """
    mine, known = (
        {name: tuple(weight.shape) for name, weight in teacher.unet.named_parameters()}
        for teacher in (victim, base)
    )
    differ = sorted(n for n in mine.keys() | known.keys() if mine.get(n) != known.get(n))
    if differ:
        first = differ[0]
        raise BadInput(
            f"{model} is no edit of the base: {len(differ)} weights have other shapes, first "
            f"{first}: {mine.get(first, 'none')} there, {known.get(first, 'none')} in the base; "
            f"give with --params the parameters whose base it was made from"
        )


def _shown(params: Params, concepts: Sequence[Concept]) -> Shown:
    """What the prompt sets of the parameters show.

    Raises:
        BadInput: Nothing that a concept could be told from by its name.
    """
    kept = read_prompt_set(params.prompts.kept, params.reading)
    labels = labels_of(kept_rows(kept, concepts), concepts)
    named = [c for c in concepts if "clip.concept_rate" in params.policy.asked_of(c.kind)]
    check_styles(params, named)
    for concept in named:
        check_names({*labels, concept.name}, params.prompts.kept)
    files = {c.name: params.prompts.targets / f"{c.slug}.csv" for c in concepts}
    targets = {n: read_prompt_set(f, params.reading) for n, f in files.items() if f.is_file()}
    return Shown(kept, labels, targets)


def _concepts(
    model: str, params: Params, home: Home, name: str | None, request: str | None
) -> list[Concept]:
    """What is to be brought back."""
    if request is not None:
        book = open_book(home, make=False)
        return [r.concept for r in read_named(book, [request], params.registered_model)]
    if not is_version(model) and (model == BASE or Path(model).is_dir()):
        raise BadInput(f"nobody knows what {model} should no longer show; give --request NAME")
    book = open_book(home, make=False)
    version = version_named(book, model, params.registered_model)
    entries = book.ask(lambda reader: [reader.request(i) for i in version.requests])
    concepts = together(tuple(entry.known.concept for entry in entries))
    chosen = [c for c in concepts if name is None or any(may_mean(name, n) for n in c.names)]
    if not chosen:
        have = ", ".join(c.name for c in concepts) or "nothing"
        raise BadInput(f"{model} erases {have}, not {name!r}; name one of these")
    return chosen
