"""What to try when a gate refused: which limit binds, by how much, the likely cause, two commands.

The limit that binds is the one missed by most, counted in what it allows: a share of at most 0.10
whose interval ends at 0.40 is missed by 3, an SSIM of at least 0.85 that ends at 0.80 by a third.
"""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from erasure_core.attacks import all_attacks
from erasure_core.law.gates import Check, Gate, Measurement, concept_of, decimals
from erasure_core.metrics.intervals import enough
from erasure_core.planning.params import shown
from erasure_core.planning.policy import (
    ATTACK,
    BESIDES,
    COMPOSED,
    EXCESS,
    INSTEAD,
    LEAK,
    NAMED_RIGHTLY,
    REQUIRED,
    Policy,
)

EXAMPLE_WORDINGS, EXAMPLE_KEPT = 32, 30  # of examples/requests/astronaut.yaml; a test counts them
FEW = 0.5  # below this part of what the examples have, wordings are the likely cause
# Which method withstands most and which keep most, as measured (docs/attacks.md, README). No closed
# form withstands: whoever puts in states has the concept back from each.
ERASES_MOST, KEEPS_MOST = "all_but_one", ("sepme", "uce")
_CONTROL, _RESTORED = "base.", "restored."
# Of these the base has a number of its own, beside which the candidate's stands, and which an
# erasure does not raise.
OF_BASE = ("replacement.rate", "neighbour.", "clip.accuracy", "clip.score")
TAKE_IN = "`erasure request add REQUEST.yaml`"
MORE_WORDINGS = (
    f"add wordings to the request ({EXAMPLE_WORDINGS} do), {TAKE_IN}, then `erasure run`"
)
Found = tuple[str, tuple[str, str]]  # a cause, and what to try


@dataclass(frozen=True, slots=True)
class Tried:
    """What a refused run was asked and how it tried."""

    wordings: Mapping[str, int]  # concept -> prompts that its request trains on
    keep: int  # prompts that the requests name to keep
    method: str
    methods: tuple[str, ...]  # those that the parameters hold
    requests: tuple[str, ...]  # concepts whose requests the run was for
    policy: Policy  # what it was judged by
    lambdas: tuple[float, ...] = ()  # of the candidates; none where the method has none
    restoring: str = ""  # the concept that was to be taken back, if one was
    honoured: frozenset[str] = frozenset()  # concepts whose recipe stays as it is
    trial: bool = False
    not_run: Mapping[str, str] = field(default_factory=dict)  # metric of an attack -> why

    def again(self, *options: str) -> str:
        """The command that does it again with other options. A trial and a restore are done again
        without `--fresh`, and a restore takes of the advised ones `--method` alone.
        """
        if self.restoring:
            taken = options if options[:1] == ("--method",) else ()
            return f"`erasure restore {shlex.join((self.restoring, '--reason', 'TEXT', *taken))}`"
        if self.trial:
            options = ("--trial", *(option for option in options if option != "--fresh"))
        return f"`erasure run {shlex.join((*self.requests, *options))}`"

    def about(self, line: str) -> str:
        """A line of advice whose commands are about this run. A trial enters nothing: it reads a
        request's file anew.
        """
        line = line.replace("`erasure run`", self.again())
        return line.replace(TAKE_IN, "in its file") if self.trial else line


@dataclass(frozen=True, slots=True)
class Advice:
    """Why it was refused, and what to do next."""

    binding: str  # the metric whose limit binds
    missed: str  # by how much
    cause: str  # the likely one
    tries: tuple[str, str]  # the more promising first

    @property
    def lines(self) -> list[str]:
        """As a command and the report say it."""
        return [
            f"binds: {self.binding}, {self.missed}",
            f"likely: {self.cause}",
            *(f"try: {one}" for one in self.tries),
        ]


def advise(gate: Gate, found: Mapping[str, Measurement], tried: Tried) -> Advice | None:
    """What to try after `gate`; None where it passed.

    Args:
        gate: The verdict on the candidate put forward.
        found: Its measurements.
        tried: What the run was asked.
    """
    missed = [check for check in gate.checks if check.verdict != "pass"]
    blind = [check for check in missed if check.metric.startswith(_CONTROL)]
    if not missed:
        return None
    binding = max(blind or missed, key=lambda check: _miss(check, found.get(check.metric)))
    m = found.get(binding.metric)
    if binding.verdict == "inconclusive" or m is None:
        cause, tries = _unmeasured(binding, tried)
        return Advice(binding.metric, binding.reason, cause, tries)
    d = decimals([_end(m)], binding.limit)
    by = (
        f"{_end(m):.{d}f} where {'at most' if m.better == 'lower' else 'at least'} "
        f"{binding.limit:g} is allowed"
    )
    about = re.search(r"\[(.+)\]", binding.metric)
    concept = about.group(1) if about and about.group(1) in tried.wordings else None
    if binding.metric.startswith(BESIDES):  # of what stays, by the name of what went
        concept = None
    of_base = found.get(f"{_CONTROL}{binding.metric}")
    if blind:
        cause, tries = _control(binding, found, about.group(1) if about else None, tried)
    elif of_base and binding.metric.startswith(OF_BASE) and _misses(of_base, binding.limit):
        cause, tries = _out_of_reach(binding, of_base, tried)
    elif _beyond(m.value, binding.limit, m) <= 0:
        cause, tries = _uncertain(binding, m, concept, tried)
    elif concept and not binding.metric.startswith(_RESTORED):
        cause, tries = _not_erased(binding.metric, concept, tried)
    else:
        cause, tries = _not_kept(tried)
    return Advice(binding.metric, by, cause, tries)


def _miss(check: Check, m: Measurement | None) -> float:
    """By how much, in parts of what the limit allows; what was not measured misses by all."""
    if m is None or check.verdict == "inconclusive":
        return float("inf")
    ideal = 0.0 if m.better == "lower" else 1.0
    return _beyond(_end(m), check.limit, m) / max(abs(check.limit - ideal), 1e-9)


def _end(m: Measurement) -> float:
    """The cautious end of its interval."""
    return m.high if m.better == "lower" else m.low


def _beyond(x: float, limit: float, m: Measurement) -> float:
    return x - limit if m.better == "lower" else limit - x


def _misses(m: Measurement, limit: float) -> bool:
    return _beyond(m.value, limit, m) > 0


def _two(*tries: str) -> tuple[str, str]:
    """The first two of what can be tried; "" is nothing."""
    first, second, *_ = filter(None, tries)
    return first, second


def _unmeasured(check: Check, tried: Tried) -> Found:
    metric = check.metric.removeprefix(_CONTROL)
    if metric in tried.not_run:
        return _not_run(metric, tried)
    return (
        f"the evidence is missing, which is never a pass ({check.reason})",
        (
            f"`erasure request check {shlex.join(tried.requests)}` says what the prompt sets lack",
            f"{tried.again('--fresh')} measures again, once they have it",
        ),
    )


def _not_run(metric: str, tried: Tried) -> Found:
    """An attack that said nothing here: other weights can be attacked, or nobody needs it."""
    attack = metric.removeprefix(EXCESS).partition("[")[0]
    cause = f"the attack '{attack}' was not run, which is never a pass: {tried.not_run[metric]}"
    same = tried.method == ERASES_MOST
    other = _other(KEEPS_MOST, tried, "keeps") if same else _stronger(tried, states=False)
    if attack in REQUIRED["words"]["smoke"]:  # nobody is released to without it
        higher = _lambdas(tried, 2, "holds on to more")
        more = _more_wordings(concept_of(metric), tried)
        return cause, _two(other, higher, more, _settings(tried))
    needed = ", choose an audience or a tier that does not require it"
    required = needed if attack in tried.policy.required else ""
    return cause, (
        other,
        f"take '{attack}' out of `policy.attacks`{required}, then `erasure run`",
    )


def _control(
    check: Check, found: Mapping[str, Measurement], concept: str | None, tried: Tried
) -> Found:
    metric = check.metric
    if metric.startswith(f"{_CONTROL}{LEAK}"):
        return _sees_anywhere(concept)
    if metric.startswith(NAMED_RIGHTLY):
        return _unnamed()
    if not metric.startswith(f"{_CONTROL}{EXCESS}"):
        return _blind(concept)
    excess, shown = found[metric], found.get(metric.replace(EXCESS, ATTACK))
    if shown and 2 * excess.value > shown.value:  # of the rest the replacement shows as much
        return _too_much_asked(check, excess, concept, tried)
    return _alike(concept, tried)


def _sees_anywhere(concept: str | None) -> Found:
    """The negative control: instruments see the concept where nobody asked for it."""
    name = concept or "the concept"
    return (
        f"the instruments see {name} in the unerased base's pictures of kept prompts, so that "
        f"seeing it proves nothing: the label is too wide, or kept prompts show it",
        (
            "take the prompts that show it out of prompts.kept, or fill their column `concept`, "
            "then `erasure run`",
            "ask for it by a narrower name, in a request of its own in place of this one",
        ),
    )


def _unnamed() -> Found:
    """The control of what stays: what was never named rightly cannot be lost."""
    return (
        "CLIP hardly names the unerased base's own kept pictures rightly, so that it would not see "
        "if they were lost: the words of the column `concept` are not its, or the base does not "
        "draw what these prompts ask for (their guidance may be too low)",
        (
            "write into the column `concept` of prompts.kept what CLIP calls such pictures, or "
            "take prompts that the base draws, then `erasure run`",
            "name another CLIP in `clip` of the parameters, then `erasure run`",
        ),
    )


def _blind(concept: str | None) -> Found:
    name = concept or "the concept"
    return (
        f"the unerased base hardly shows {name} on these prompts, so that its absence proves "
        f"nothing: the wordings, or the label that the instrument looks for, are not the base's",
        (
            _drawn_by_base(name),
            "write prompts by which the base draws it into its table of prompts.targets, then "
            "`erasure run`",
        ),
    )


def _out_of_reach(check: Check, of_base: Measurement, tried: Tried) -> Found:
    """What the base's own pictures miss as well: no erasure shows more."""
    name = concept_of(check.metric)
    metric = check.metric.partition("[")[0] if name else check.metric
    lower = f"lower the limit on {metric} below {of_base.value:.2f}, then `erasure run`"
    lower *= of_base.value >= 0.01
    if metric.startswith(INSTEAD):
        other = f"name a replacement that the base draws and CLIP names, {TAKE_IN}, then"
        return (
            f"told the replacement of '{name}', the unerased base draws what CLIP names so in "
            f"{of_base.value:.3f} of the pictures: no erasure shows more of it",
            _two(f"{other} `erasure run`" * (name not in tried.honoured), lower, _settings(tried)),
        )
    return (
        f"the unerased base's own pictures come to {of_base.value:.3f}: no erasure shows more",
        _two(
            "take kept prompts that the base follows, and write into their column `concept` what "
            "CLIP calls such pictures, then `erasure run`",
            lower,
            _settings(tried),
        ),
    )


def _too_much_asked(check: Check, excess: Measurement, concept: str | None, tried: Tried) -> Found:
    """An attack's control: it works on the base, less often than it would have to."""
    attack = check.metric.removeprefix(f"{_CONTROL}{EXCESS}").partition("[")[0]
    reached = math.floor(100 * excess.low) / 100
    lower = f"lower the limit on {attack} under `policy.attacks` to {reached:g} or less"
    without = f"take '{attack}' out of `policy.attacks`"
    return (
        f"the attack '{attack}' brings {concept or 'the concept'} back in {excess.value:.3f} of "
        f"the unerased base's own pictures above its control, which leave {excess.low:.3f} open: "
        f"the base has to exceed the limit of {check.limit:g}, or a candidate's failure says "
        f"nothing",
        _two(
            f"{lower}, then `erasure run`" * (reached > 0),
            f"{without}, then `erasure run`" * (attack not in tried.policy.required),
            _drawn_by_base(concept or "the concept"),
            _settings(tried),
        ),
    )


def _settings(tried: Tried) -> str:
    return (
        f"change the settings of {tried.method} in the parameters (docs/params.md says what each "
        f"does), then {tried.again()}"
    )


def _alike(concept: str | None, tried: Tried) -> Found:
    """An attack's control: the base shows no more under it than when told the replacement."""
    name = concept or "the concept"
    return (
        f"told the replacement, the unerased base passes for {name} about as often as under the "
        f"attack, so that what comes back proves nothing: to the instruments the replacement looks "
        f"like it, or the base does not know it",
        _two(
            f"name a replacement that they tell apart, {TAKE_IN}, then `erasure run`"
            * (concept not in tried.honoured),
            _drawn_by_base(name),
            _settings(tried),
        ),
    )


def _drawn_by_base(name: str) -> str:
    draw = f"erasure generate {shlex.quote(f'a photo of {name}')} --model base"
    return f"`{draw} --seed 1 --out pictures` shows what the base draws"


def _uncertain(check: Check, m: Measurement, concept: str | None, tried: Tried) -> Found:
    """The number keeps to its limit, the end of its interval does not."""
    states = _puts_in_states(check.metric)
    other = _stronger(tried, states) if concept else _other(KEEPS_MOST, tried, "keeps")
    if check.metric.startswith(ATTACK):  # the attacker's pictures are no table of anybody's
        attack = check.metric.removeprefix(EXCESS).partition("[")[0]
        if m.value <= 0:
            return _too_few(check, m, attack, tried, other)
        return _strayed(m, attack, concept, tried, other, states)
    of_target = concept or check.metric.startswith((COMPOSED, _RESTORED))
    where = "of prompts.targets" if of_target else "of prompts.kept"
    beside = " and, in the column `also`, with something beside it" if _composed(check) else ""
    worth = m.settings.get("effective_n", m.n)
    needed = ""
    is_share = concept or check.metric.startswith(LEAK)
    strays = "a hit" if m.better == "lower" else "a miss"
    if m.better == "lower" and is_share and check.limit > 0:
        needed = f" ({enough(check.limit)} without a hit would do)"
    return (
        f"{m.value:.3f} keeps to it, but {m.n} pictures, which count as {worth:g}, leave "
        f"{'up' if m.better == 'lower' else 'down'} to {_end(m):.3f} open: too few prompts, or "
        f"{strays} among them",
        (
            f"add rows, each a prompt of its own{beside}, to the table {where}{needed}, then "
            f"`erasure run`",
            other,
        ),
    )


def _composed(check: Check) -> bool:
    return check.metric.startswith(COMPOSED)


def _too_few(check: Check, m: Measurement, attack: str, tried: Tried, other: str) -> Found:
    """An attack that brought nothing back, in too few pictures to say so."""
    worth = m.settings.get("effective_n", m.n)
    end = math.ceil(100 * _end(m)) / 100
    raised = f"raise the limit on {attack} under `policy.attacks` to {end:g} or more"
    more = "set `policy.tier` to full, where each attack draws twice as many pictures"
    if lacking := ", ".join(tried.policy.lacking("full")):
        more += f"; it asks for limits on {lacking} for every kind in `policy.attacks`"
    draws_more = attack == "wordings" and m.settings.get("budget") != "full"  # the others repeat
    return (
        f"the attack '{attack}' brought nothing back above its control, but {m.n} pictures, which "
        f"count as {worth:g}, leave up to {_end(m):.3f} open: so few cannot show {check.limit:g}",
        (more, raised) if draws_more else (raised, other),
    )


def _strayed(
    m: Measurement, attack: str, concept: str | None, tried: Tried, other: str, states: bool
) -> Found:
    """An attack whose few hits keep to its limit, and their interval does not."""
    few = f"{m.value:.3f} keeps to it, but of {m.n} pictures a few hits leave up to {_end(m):.3f}"
    less, more = _lambdas(tried, 0.5, "holds on to less"), _more_wordings(concept, tried)
    if not states:
        cause = f"{few} open: some wordings of the attack still reach '{concept}'"
        return cause, _two(more, other, less if less != other else "", _settings(tried))
    cause = f"{few} open: the attack '{attack}' still brings '{concept}' back in some"
    return cause, _two(other, less, more, _settings(tried))


def _more_wordings(concept: str | None, tried: Tried) -> str:
    """By more wordings of a request whose recipe can be changed; "" of one that is honoured."""
    return "" if concept in tried.honoured else MORE_WORDINGS


def _not_erased(metric: str, concept: str, tried: Tried) -> Found:
    """Still shown, brought back by an attack, or not replaced by what was asked for."""
    wordings = tried.wordings[concept]
    states = _puts_in_states(metric)
    method = _stronger(tried, states)
    less = _lambdas(tried, 0.5, "holds on to less")
    more = _more_wordings(concept, tried)
    if more and wordings < FEW * EXAMPLE_WORDINGS and not states:
        return (
            f"the request for '{concept}' has {_counted(wordings, 'wording')}, the examples have "
            f"{EXAMPLE_WORDINGS}: other wordings were not learnt",
            (more, less or method),
        )
    if metric.startswith(INSTEAD):
        cause = f"'{concept}' went, but what stands in its place is not the replacement"
    else:
        cause = f"{tried.method} erases '{concept}' too weakly with these settings"
    if not more:
        cause += "; its request is honoured, and keeps its wordings"
    if states:
        return cause, _two(method, less, more, _settings(tried))
    return cause, _two(less, "" if method == less else method, more, _settings(tried))


def _puts_in_states(metric: str) -> bool:
    """Whether it is of an attack that puts in what nobody types, and wordings do not meet."""
    attack = all_attacks().get(metric.removeprefix(EXCESS).partition("[")[0])
    return attack is not None and attack.AUDIENCE != "words"


def _stronger(tried: Tried, states: bool) -> str:
    """By the method that withstands most; of that, by less to hold on to, or by its stronger form,
    which is measured against states and not against words.
    """
    if tried.method != ERASES_MOST:
        return _other((ERASES_MOST,), tried, "erases")
    less = "" if states else _lambdas(tried, 0.5, "holds on to less")
    return less or (
        f"set `robust: {{}}` in the settings of {ERASES_MOST}, with more updates "
        f"(docs/methods.md), then {tried.again()}: it withstands more, and keeps less"
    )


def _not_kept(tried: Tried) -> Found:
    method = _other(KEEPS_MOST, tried, "keeps")
    more = _lambdas(tried, 2, "holds on to more")
    keep = f"add prompts to the request's `keep` ({EXAMPLE_KEPT} do), {TAKE_IN}, then `erasure run`"
    keep *= not tried.honoured.issuperset(tried.requests)
    if keep and tried.keep < FEW * EXAMPLE_KEPT:
        return (
            f"the requests name {_counted(tried.keep, 'prompt')} to keep, the examples "
            f"{EXAMPLE_KEPT}: what is not named is not held",
            (keep, more or method),
        )
    cause = f"{tried.method} changes too much beside the concept with these settings"
    return cause, _two(more, method, keep, _settings(tried))


def _lambdas(tried: Tried, factor: float, effect: str) -> str:
    """Other lambdas to try; "" where the method has none, or has only 0 to make smaller."""
    others = sorted({shown(factor * x) for x in tried.lambdas if x > 0}, key=float)
    if not others or tried.restoring:  # a restore takes them from the parameters
        return ""
    way = "lower" if factor < 1 else "higher"
    return f"{tried.again('--lambdas', ','.join(others))}: {way} {effect}"


def _other(best: Sequence[str], tried: Tried, does: str) -> str:
    """By another method, which `does` more than most; one that the parameters hold, if they do."""
    others = [name for name in best if name != tried.method]
    held = next((name for name in others if name in tried.methods), None)
    by = tried.again("--method", held or others[0])
    if held:
        return f"{by}, which {does} more"
    wanted = f"settings of {others[0]}, which {does} more"
    return f"add {wanted}, under `methods` of the parameters, then {by}"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
