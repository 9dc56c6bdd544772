"""An adversary inside the training: text states that still bring a concept back from the student
are found while it learns, and sent to the replacement too.

At noised pictures z_t of the concept, made by the teacher, the term is

    mean |eps(z_t, s') - eps_*(z_t, c')|^2,

where c' is the erased prompt with its concept replaced, and s' is half of the time

- token states: the erased prompt with a learnt vector v in place of the concept's name. Before each
  update one of a few vectors takes some steps of Adam down the student's own noise loss
  |eps(z_t, s'(v)) - noise|^2, as textual inversion does (Gal et al., arXiv:2208.01618);
- ridge states: c' = (lamb I + sum V^T V)^-1 (sum V^T W) c of the student's present keys and values
  V and the teacher's W (Gong et al., RECE, arXiv:2407.12383, eq. 5), made again now and then.

Alternating the two players follows AdvUnlearn (Zhang et al., arXiv:2405.15234), which trains the
text encoder; here the text encoder stays, and the UNet learns.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, stand_in
from erasure_core.network import attention, closed_form, diffusion
from erasure_core.network.diffusion import Context
from erasure_core.network.models import Teacher

BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's own defaults


class Robust(BaseModel):
    """Settings of the adversary; ours, in no paper's preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weight: float = Field(
        5.0,
        gt=0,
        allow_inf_nan=False,
        description="weight of the term; a higher one withstands more, and drifts further",
    )
    batch: int = Field(
        4,
        ge=2,
        multiple_of=2,
        description=(
            "points of the term in an update, half of them under token states; more smooth its "
            "gradient and take longer"
        ),
    )
    pictures: int = Field(
        24,
        ge=1,
        description="the teacher's pictures of each concept; more vary more, and take longer",
    )
    vectors: int = Field(
        4,
        ge=1,
        description=(
            "learnt vectors of each concept; more attack from more sides, in fewer steps each"
        ),
    )
    attack_steps: int = Field(
        3,
        ge=1,
        description=(
            "steps of Adam that one vector takes before each update; more make a stronger "
            "attacker, and take longer"
        ),
    )
    attack_lr: float = Field(
        0.05,
        gt=0,
        allow_inf_nan=False,
        description="Adam's rate of a vector; a higher one leads it further in a step, or astray",
    )
    restart: int = Field(
        150,
        ge=1,
        description=(
            "updates after which all vectors begin again at tokens drawn anew; more let each come "
            "further, and try fewer beginnings"
        ),
    )
    ridge: tuple[float, ...] = Field(
        (0.1, 0.001),
        min_length=1,
        description=(
            "lamb of the ridge states, each above 0; a lower one comes nearer to the old keys and "
            "values, by longer states"
        ),
    )
    renew: int = Field(
        10,
        ge=1,
        description=(
            "updates after which ridge states are made again; more take less time, and lag behind "
            "the student"
        ),
    )
    earliest: int = Field(
        200,
        ge=0,
        description=(
            "lowest timestep of z_t, below which a text says little; a higher one attacks at "
            "noisier pictures only"
        ),
    )


def check_base(settings: Robust, readers: int, times: int) -> None:
    """Refuse a base that reads by several text encoders, or settings that do not fit its timesteps.

    Raises:
        BadInput: Saying which.
    """
    if readers > 1:
        raise BadInput(
            f"robust learns one token vector, and this base reads by {readers} text encoders; "
            f"leave robust out"
        )
    if settings.earliest >= times or min(settings.ridge) <= 0:
        raise BadInput(
            f"robust.earliest={settings.earliest} must be below this base's {times} timesteps, "
            f"and each of robust.ridge={settings.ridge} above 0"
        )


class Adversary:
    """The attacker's state and the term it adds. `tensors` and `draws` are all that a resumed
    training needs.
    """

    def __init__(
        self,
        teacher: Teacher,
        concepts: Sequence[Concept],
        settings: Robust,
        w: float,
        steps: int,
        seed: int,
    ):
        """Draw pictures of the erased prompts at guidance `w`.

        Raises:
            BadInput: A prompt does not name its concept, or what `check_base` refuses.
        """
        times = teacher.scheduler.config.num_train_timesteps
        check_base(settings, len(teacher.text_encoders), times)
        self.teacher, self.settings = teacher, settings
        pairs = [(concept, prompt) for concept in concepts for prompt in concept.prompts]
        self.erased = diffusion.encode_prompts(teacher, [prompt for _, prompt in pairs])
        self.replaced = diffusion.encode_prompts(
            teacher, [stand_in(concept, prompt, concepts) for concept, prompt in pairs]
        )
        self.named = attention.concept_columns(teacher, concepts, "none").bool()
        owner = torch.tensor([concepts.index(concept) for concept, _ in pairs])
        self.rows = [(owner == i).nonzero().flatten() for i in range(len(concepts))]
        drawn = seeding.generator(seed, "pictures of an adversary")
        self.latents = [
            diffusion.pictures(
                teacher, self.erased, _some(rows, settings.pictures, drawn), w, steps, drawn
            )
            for rows in self.rows
        ]
        self.table = teacher.text_encoder.get_input_embeddings()
        self.draws = seeding.generator(seed, "adversary")
        n, d = settings.vectors * len(concepts), self.table.weight.shape[1]
        zeros = torch.zeros(n, d, device=self.table.weight.device)
        d_text = self.erased.states.shape[-1]
        self.tensors: Mapping[str, Tensor] = {
            "vectors": zeros.clone(),
            "mean": zeros.clone(),  # Adam's two moments, and how many steps each vector has taken
            "square": zeros.clone(),
            "taken": torch.zeros(n, 1, device=zeros.device),
            "ridge": zeros.new_zeros(len(settings.ridge), d_text, d_text),
            "updates": torch.zeros(()),
        }

    def term(self, student: nn.Module) -> Tensor:
        """One move of the adversary, and then the weighted term at what it has now."""
        state, settings = self.tensors, self.settings
        update = int(state["updates"])
        if update % settings.restart == 0:
            self._restart()
        if update % settings.renew == 0:
            pairs = closed_form.edited_pairs(
                self.teacher.unet, student, device=str(self.teacher.device)
            )
            for made, lamb in zip(state["ridge"], settings.ridge, strict=True):
                made.copy_(closed_form.ridge_map(pairs, lamb))
        state["updates"].add_(1)
        for _ in range(settings.attack_steps):
            self._attack(student, update % len(state["vectors"]))
        k = self._integer(len(state["vectors"]))
        concept, half = k // settings.vectors, settings.batch // 2
        z, _, timestep = self._noised(concept, settings.batch)
        rows = _some(self.rows[concept], settings.batch, self.draws).to(z.device)
        ridge = state["ridge"][self._integer(len(settings.ridge))]
        with torch.no_grad():
            attacked = self.token_states(rows[:half], state["vectors"][k])
            held = self.erased[rows[half:]]
            attacked = Context.cat(
                [attacked, Context(held.states @ ridge.T, held.ids, held.pooled)]
            )
            target = diffusion.predict_noise(
                self.teacher, self.teacher.guide, z, timestep, self.replaced[rows]
            )
        predicted = diffusion.predict_noise(self.teacher, student, z, timestep, attacked)
        return settings.weight * (predicted - target).square().mean()

    def token_states(self, rows: Tensor, vector: Tensor) -> Context:
        """The erased prompts `rows` with `vector` (d,) in place of the concept's name."""
        ids = self.erased.ids[rows]
        with diffusion.with_vector(self.teacher, self.named[rows], vector):
            return diffusion.encode_ids(self.teacher, ids)

    def _attack(self, student: nn.Module, k: int) -> None:
        """One step of Adam of vector k down the student's noise loss."""
        state, n = self.tensors, self.settings.batch
        concept = k // self.settings.vectors
        z, noise, timestep = self._noised(concept, n)
        rows = _some(self.rows[concept], n, self.draws).to(z.device)
        vector = state["vectors"][k].clone().requires_grad_()
        told = self.token_states(rows, vector)
        predicted = diffusion.predict_noise(self.teacher, student, z, timestep, told)
        (gradient,) = torch.autograd.grad((predicted - noise).square().mean(), vector)
        adam_step(
            state["vectors"][k],
            gradient,
            state["mean"][k],
            state["square"][k],
            state["taken"][k],
            self.settings.attack_lr,
        )

    def _restart(self) -> None:
        """Each vector begins at the embedding of a token, any of the vocabulary's."""
        weight, vectors = self.table.weight.detach(), self.tensors["vectors"]
        tokens = torch.randint(len(weight), (len(vectors),), generator=self.draws)
        vectors.copy_(weight[tokens.to(weight.device)])
        for name in ("mean", "square", "taken"):
            self.tensors[name].zero_()

    def _noised(self, concept: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """(z_t, noise, t) of n pictures of a concept; t is uniform from `earliest` on."""
        at = diffusion.noised(
            self.teacher, self.latents[concept], n, self.draws, self.settings.earliest
        )
        return at.z, at.noise, at.timestep

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.draws))


def adam_step(
    x: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, taken: Tensor, lr: float
) -> None:
    """One step of Adam, in place. Written out, so that its state is plain tensors that a training
    saves; `taken` counts the steps.
    """
    taken.add_(1)
    mean.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    unbiased = mean / (1 - BETAS[0] ** taken), square / (1 - BETAS[1] ** taken)
    x.sub_(lr * unbiased[0] / (unbiased[1].sqrt() + EPS))


def _some(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n of `rows`, with replacement."""
    return rows[torch.randint(len(rows), (n,), generator=generator)]
