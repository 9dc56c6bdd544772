"""The few diffusion operations that every method shares, with their shapes. z: (n, c, h, w).

Methods think in noise: what a network predicts instead is converted here, and here alone.

Everything is deterministic: DDIM with eta 0, and each picture's noise comes from its own seed, so
that a picture does not depend on the batch it was made in (to about 1e-6 on CPU).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, erased_prompts, kept_prompts
from erasure_core.network.models import Teacher
from erasure_core.network.shares import Shares
from erasure_core.network.weights import tensors_sha256
from erasure_core.text import broken

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from transformers import CLIPTokenizer

Predict = Callable[[Tensor, int], Tensor]  # (z, timestep) -> noise

# Settings of several methods: what each is and may be, once.
Guidance = Annotated[
    float,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="guidance of what is sampled; a higher one shows the prompt more strongly",
    ),
]
Steps = Annotated[
    int,
    Field(
        ge=2,
        description="T, DDIM steps of a whole trajectory; more are more exact, and take longer",
    ),
]

KEPT_TRAJECTORIES = 24  # fewest trajectories that stand for the kept prompts
SHOWN = 5  # prompts named in a message
ENCODED_TOGETHER = 64  # prompts of one batch; bounds the memory of reading them
PICTURES_TOGETHER = 20  # pictures of one batch; bounds the memory of making them
BANKED_TOGETHER = 32  # of one batch; bounds the memory of making a bank
# bytes; a larger bank is not put on the device, its rows go there as they are drawn
RESIDENT = 2**30
# Names of random streams (`seeding.generator`). They decide the numbers drawn, and so every hash
# of a delta: they stay, whatever the things are called.
TRAJECTORIES_STREAM, KEPT_STREAM = "walks", "walks of kept prompts"


@dataclass(frozen=True, slots=True)
class Context:
    """What the network is told about n prompts."""

    states: Tensor  # (n, tokens, d_text), what cross-attention reads
    # (n, tokens), the tokens they belong to; the first tokenizer's, where a family has two
    ids: Tensor
    # (n, d_pooled), an embedding of each whole prompt, where the family reads one
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Tensor | slice) -> "Context":
        return Context(
            self.states[rows], self.ids[rows], None if self.pooled is None else self.pooled[rows]
        )

    def expand(self, n: int) -> "Context":
        """One prompt, n times."""
        pooled = None if self.pooled is None else self.pooled.expand(n, -1)
        return Context(self.states.expand(n, -1, -1), self.ids.expand(n, -1), pooled)

    @classmethod
    def cat(cls, contexts: Sequence["Context"]) -> "Context":
        """One after another."""
        pooled = [c.pooled for c in contexts if c.pooled is not None]
        return cls(
            torch.cat([c.states for c in contexts]),
            torch.cat([c.ids for c in contexts]),
            torch.cat(pooled) if pooled else None,
        )


def check_prompts(tokenizer: "CLIPTokenizer", prompts: Sequence[str]) -> None:
    """Refuse prompts that the tokenizer would cut: what is cut is neither erased nor measured.

    Raises:
        BadInput: Naming the first prompts that are too long, their lengths, how many, the limit; or
            what in a prompt is no character.
    """
    if found := next(filter(None, map(broken, prompts)), None):
        raise BadInput(f"a prompt holds {found}, which is no character of a text; write it anew")
    long = too_long([tokenizer], prompts)
    if not long:
        return
    first = ", ".join(f"{_begun(prompts[i])} has {n} tokens" for i, n in [*long.items()][:SHOWN])
    more = f" and {len(long) - SHOWN} more are longer" if len(long) > SHOWN else ""
    raise BadInput(
        f"prompt {first} with its two markers{more}; this base reads "
        f"{tokenizer.model_max_length}; shorten {'them' if len(long) > 1 else 'it'}"
    )


def too_long(tokenizers: Sequence["CLIPTokenizer"], prompts: Sequence[str]) -> dict[int, int]:
    """Which of `prompts` one of the tokenizers would cut, and their tokens with the two markers."""
    long: dict[int, int] = {}
    for tokenizer in tokenizers:
        read = tokenizer(list(prompts)).input_ids if prompts else []
        for i, ids in enumerate(read):
            if len(ids) > tokenizer.model_max_length:
                long[i] = max(len(ids), long.get(i, 0))
    return dict(sorted(long.items()))


def cut(tokenizers: Sequence["CLIPTokenizer"], prompt: str) -> str:
    """The beginning of `prompt` that each tokenizer reads whole: up to the end of the last token
    within its limit, which leaves a place for the end marker.
    """
    for tokenizer in tokenizers:
        read = tokenizer(prompt, return_offsets_mapping=True)
        last = tokenizer.model_max_length - 2
        while len(tokenizer(prompt).input_ids) > tokenizer.model_max_length:
            prompt, last = prompt[: read.offset_mapping[last][1]], last - 1
    return prompt


def _begun(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else f"{prompt[:57]}...")


@torch.no_grad()
def encode_prompts(teacher: Teacher, prompts: Sequence[str]) -> Context:
    """What the network is told of each prompt when it draws, padded to the tokenizer's limit: of
    the empty one zeros, where the base was trained with them.
    """
    read = encode_words(teacher, prompts)
    if not teacher.zeros_for_empty:
        return read
    worded = torch.tensor([bool(prompt) for prompt in prompts], device=read.states.device)
    pooled = None if read.pooled is None else read.pooled * worded[:, None]
    return Context(read.states * worded[:, None, None], read.ids, pooled)


@torch.no_grad()
def encode_words(teacher: Teacher, prompts: Sequence[str]) -> Context:
    """The text states of each prompt, the empty one's too, on every base: its start marker is that
    of all prompts, and its padding that of the short ones. What an edit must not move are these.
    """
    ids = []
    for tokenizer in teacher.tokenizers:
        check_prompts(tokenizer, prompts)
        read = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        ids.append(read.input_ids.to(teacher.device))
    parts = []
    for some in zip(*(each.split(ENCODED_TOGETHER) for each in ids), strict=True):
        states, pooled = teacher.family.encode(teacher, some)
        parts.append(Context(states, some[0], pooled))
    return parts[0] if len(parts) == 1 else Context.cat(parts)


def encode_ids(teacher: Teacher, ids: Tensor) -> Context:
    """The text states of prompts that are tokens already, (n, tokens), for a base with one
    tokenizer; the gradient reaches the embeddings.
    """
    states, pooled = teacher.family.encode(teacher, [ids])
    return Context(states, ids, pooled)


@contextmanager
def with_vector(teacher: Teacher, here: Tensor, vector: Tensor) -> Iterator[None]:
    """Within it, the first text encoder reads `vector` (d,) at the places `here`, (n, tokens)."""

    def put(_module: nn.Module, _arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.where(here[..., None], vector, output)

    handle = teacher.text_encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def predict_noise(
    teacher: Teacher, unet: nn.Module, z: Tensor, timestep: Tensor | int, context: Context
) -> Tensor:
    """eps(z, c, t) of `unet`, which is the teacher's or a student of it; shape of `z`. `timestep`
    is one for all or (n,).
    """
    added, states, read = teacher.family.added(teacher, context.pooled), context.states, z
    if unet is teacher.half:
        dtype = next(teacher.half.parameters()).dtype
        states, read = states.to(dtype), z.to(dtype)
        added = {name: tensor.to(dtype) for name, tensor in added.items()}
    output: Tensor = unet(
        read, timestep, encoder_hidden_states=states, added_cond_kwargs=added
    ).sample.to(z.dtype)
    if teacher.scheduler.config.prediction_type == "epsilon":
        return output
    # v = sqrt(kept) eps - sqrt(1 - kept) x_0
    kept = teacher.scheduler.alphas_cumprod.to(z.device)[timestep].view(-1, 1, 1, 1)
    return kept.sqrt() * output + (1 - kept).sqrt() * z


def predict_each(
    teacher: Teacher,
    unet: nn.Module,
    z: Tensor,
    timestep: Tensor | int,
    contexts: Sequence[Context],
) -> list[Tensor]:
    """eps of the same `z` under several contexts (each of n prompts), in one batched call."""
    repeats = len(contexts)
    times = timestep.repeat(repeats) if isinstance(timestep, Tensor) and timestep.ndim else timestep
    return list(
        predict_noise(
            teacher, unet, z.repeat(repeats, 1, 1, 1), times, Context.cat(contexts)
        ).chunk(repeats)
    )


def guided(
    teacher: Teacher, unet: nn.Module, nothing: Context, context: Context, w: Tensor | float
) -> Predict:
    """Classifier-free guidance, eps(0) + w (eps(c) - eps(0)), for `denoise`; `w` is one for all or
    (n, 1, 1, 1).
    """

    def predict(z: Tensor, timestep: int) -> Tensor:
        e_null, e_cond = predict_each(teacher, unet, z, timestep, [nothing, context])
        return e_null + w * (e_cond - e_null)

    return predict


def noise_scheduler(teacher: Teacher) -> "DDIMScheduler":
    """The teacher's schedule, told that it is given noise, whatever the network predicts."""
    scheduler: DDIMScheduler = type(teacher.scheduler).from_config(
        teacher.scheduler.config, prediction_type="epsilon"
    )
    return scheduler


def schedule_of(teacher: Teacher, steps: int) -> "DDIMScheduler":
    """The schedule of a trajectory of `steps` steps, set; see `with_steps`."""
    return with_steps(noise_scheduler(teacher), steps)


def with_steps(scheduler: "DDIMScheduler", steps: int) -> "DDIMScheduler":
    """`scheduler` set to a trajectory of `steps` steps.

    Raises:
        BadInput: More steps than the base has, or a first one that no noise can lead away from.
    """
    if not 1 <= steps < scheduler.config.num_train_timesteps:
        raise BadInput(
            f"a trajectory of {steps} steps; this base allows "
            f"1..{scheduler.config.num_train_timesteps - 1}"
        )
    scheduler.set_timesteps(steps)
    first = scheduler.timesteps[0]
    if scheduler.alphas_cumprod[first] == 0:
        raise BadInput(
            f"a trajectory of {steps} steps begins at timestep {first}, where no signal is "
            f"left to step from; use other steps"
        )
    return scheduler


def timesteps(teacher: Teacher, steps: int) -> list[int]:
    """The scheduler's timesteps of a trajectory of `steps` steps, noisiest first."""
    return [int(t) for t in schedule_of(teacher, steps).timesteps]


@torch.no_grad()
def denoise(
    teacher: Teacher, z: Tensor, steps: int, stop: int, predict: Predict, start: int = 0
) -> Tensor:
    """Denoise `z`, which has `start` steps behind it, to the first `stop` of `steps` DDIM steps
    (eta 0) with the noise that `predict` returns.

    `stop = start` does no step; the state returned belongs to timestep number `stop` (`methods.md`
    calls it tau).
    """
    scheduler = schedule_of(teacher, steps)
    for timestep in scheduler.timesteps[start:stop]:
        z = scheduler.step(predict(z, int(timestep)), timestep, z, eta=0.0).prev_sample
    return z


@dataclass(frozen=True, slots=True)
class Points:
    """States on trajectories, where one network is compared with another. n points."""

    z: Tensor  # (n, c, h, w)
    timestep: Tensor  # (n,), the one each state belongs to
    prompt: Tensor  # (n,), index of the prompt denoised under

    def __getitem__(self, rows: Tensor) -> "Points":
        return Points(self.z[rows], self.timestep[rows], self.prompt[rows])

    def draw(self, n: int, generator: torch.Generator) -> "Points":
        """n of them, with replacement."""
        return self[torch.randint(len(self.z), (n,), generator=generator)]

    def to(self, device: torch.device) -> "Points":
        """The same points on `device`."""
        return Points(self.z.to(device), self.timestep.to(device), self.prompt.to(device))


def resident(tensors: Iterable[Tensor]) -> bool:
    """Whether a bank of these is small enough to lie on the device."""
    return sum(tensor.nbytes for tensor in tensors) <= RESIDENT


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Guided trajectories of some prompts, each from new noise, as a source of points. Any network
    of the teacher's kind may make them.
    """

    teacher: Teacher
    prompts: Context
    nothing: Context  # the empty prompt
    w: float  # guidance
    steps: int  # T, DDIM steps of a whole trajectory
    shares: Shares  # of the prompts

    @classmethod
    def of(
        cls,
        teacher: Teacher,
        prompts: Sequence[str],
        w: float,
        steps: int,
        shares: Shares | None = None,
    ) -> "Trajectories":
        """Trajectories of `prompts`, which are refused if they are too long; None shares them among
        all alike.
        """
        told, nothing = (encode_prompts(teacher, texts) for texts in (prompts, [""]))
        return cls(teacher, told, nothing, w, steps, shares or Shares((len(prompts),)))

    @classmethod
    def erased(
        cls, teacher: Teacher, concepts: Sequence[Concept], w: float, steps: int
    ) -> "Trajectories":
        """Trajectories of the prompts of `concepts`, each of which has the same share."""
        return cls.of(teacher, erased_prompts(concepts), w, steps, Shares.of(concepts))

    def fresh(self, unet: nn.Module, n: int, generator: torch.Generator) -> Points:
        """Where n new trajectories are after a uniform number of steps, 0 to T - 1, the same for
        all of them.
        """
        elapsed = int(torch.randint(self.steps, (), generator=generator))
        prompt = self.shares.drawn(n, generator)
        times = timesteps(self.teacher, self.steps)
        z = self._states(unet, drawn_noise(self.teacher, n, generator), prompt, elapsed)[-1]
        return Points(
            z, torch.tensor(times[elapsed], device=z.device).expand(n), prompt.to(z.device)
        )

    def bank(self, unet: nn.Module, each: int, generator: torch.Generator) -> Points:
        """Every point of `each` whole trajectories of every concept, n * T points for n of them,
        noisiest first, made `BANKED_TOGETHER` at a time. No prompt of a concept has two
        before each has one. A bank larger than `RESIDENT` stays on the CPU.
        """
        prompt = self.shares.in_turn(each, generator)
        z = drawn_noise(self.teacher, len(prompt), generator)
        times = timesteps(self.teacher, self.steps)
        whole = torch.empty(self.steps, *z.shape)  # filled in place: it may be most of the memory
        for first in range(0, len(prompt), BANKED_TOGETHER):
            together = slice(first, first + BANKED_TOGETHER)
            passed = self._states(unet, z[together], prompt[together], self.steps)[:-1]
            for step, state in enumerate(passed):
                whole[step, together] = state.cpu()
        points = Points(
            whole.flatten(0, 1),
            torch.tensor(times).repeat_interleave(len(prompt)),
            prompt.repeat(self.steps),
        )
        return points.to(z.device) if resident([points.z]) else points

    @torch.no_grad()
    def _states(self, unet: nn.Module, z: Tensor, prompt: Tensor, stop: int) -> list[Tensor]:
        """The states before each of the first `stop` steps, and the one after the last."""
        passed: list[Tensor] = []
        guide = guided(
            self.teacher,
            unet,
            self.nothing.expand(len(z)),
            self.prompts[prompt.to(z.device)],
            self.w,
        )

        def predict(z: Tensor, timestep: int) -> Tensor:
            passed.append(z)
            return guide(z, timestep)

        end = denoise(self.teacher, z, self.steps, stop, predict)
        return [*passed, end]


@dataclass(frozen=True, slots=True)
class Kept:
    """Ours, for methods that hold nothing: prompts whose pictures must stay, with points of the
    teacher's own trajectories of them.
    """

    trajectories: Trajectories
    points: Points

    @classmethod
    def of(cls, trajectories: Trajectories, generator: torch.Generator) -> "Kept":
        """At least one trajectory of each prompt."""
        n = max(KEPT_TRAJECTORIES, len(trajectories.prompts))
        return cls(trajectories, trajectories.bank(trajectories.teacher.guide, n, generator))

    @classmethod
    def held(
        cls,
        teacher: Teacher,
        concepts: Sequence[Concept],
        weight: float,
        w: float,
        steps: int,
        seed: int,
    ) -> "Kept | None":
        """The kept prompts of `concepts`, where there are any and a method's `weight` on their
        drift is not zero.
        """
        keep = kept_prompts(concepts)
        if not (weight and keep):
            return None
        trajectories = Trajectories.of(teacher, keep, w, steps)
        return cls.of(trajectories, seeding.generator(seed, KEPT_STREAM))

    def drift(self, student: nn.Module, n: int, generator: torch.Generator) -> Tensor:
        """Mean square of what the student's noise differs from the teacher's, at n
        of the points.
        """
        teacher = self.trajectories.teacher
        at = self.points.draw(n, generator).to(teacher.device)
        prompts = self.trajectories.prompts[at.prompt]
        with torch.no_grad():
            base = predict_noise(teacher, teacher.guide, at.z, at.timestep, prompts)
        return (predict_noise(teacher, student, at.z, at.timestep, prompts) - base).square().mean()


def drawn_noise(teacher: Teacher, n: int, generator: torch.Generator) -> Tensor:
    """n times z_T from one generator: (n, c, h, w)."""
    config = teacher.unet.config
    shape = (n, config.in_channels, config.sample_size, config.sample_size)
    return torch.randn(shape, generator=generator).to(teacher.device)


def initial_noise(teacher: Teacher, seeds: Sequence[int]) -> Tensor:
    """One z_T per seed, each from its own generator: (len(seeds), c, h, w)."""
    return torch.cat(
        [drawn_noise(teacher, 1, torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    )


def pictures(
    teacher: Teacher,
    prompts: Context,
    shown: Tensor,
    w: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Latents of the teacher's pictures, (len(shown), c, h, w); picture i shows prompt shown[i] at
    guidance `w`.
    """
    z = drawn_noise(teacher, len(shown), generator)
    nothing, made = encode_prompts(teacher, [""]), []
    for first in range(0, len(shown), PICTURES_TOGETHER):
        together = slice(first, first + PICTURES_TOGETHER)
        told = prompts[shown[together].to(z.device)]
        guide = guided(teacher, teacher.guide, nothing.expand(len(told)), told, w)
        made.append(denoise(teacher, z[together], steps, steps, guide))
    return torch.cat(made)


@dataclass(frozen=True, slots=True)
class Noised:
    """Some of a number of pictures with noise on them, n of them."""

    z: Tensor  # z_t, (n, c, h, w)
    timestep: Tensor  # t, (n,)
    noise: Tensor  # like z
    picture: Tensor  # (n,), which picture each is; on the CPU


def noised(
    teacher: Teacher, latents: Tensor, n: int, generator: torch.Generator, earliest: int = 0
) -> Noised:
    """n of the pictures `latents`, drawn with replacement, each noised to a uniform timestep of its
    own from `earliest` on.
    """
    picture = torch.randint(len(latents), (n,), generator=generator)
    times = teacher.scheduler.config.num_train_timesteps
    timestep = torch.randint(earliest, times, (n,), generator=generator).to(latents.device)
    noise = torch.randn((n, *latents.shape[1:]), generator=generator).to(latents.device)
    z = teacher.scheduler.add_noise(latents[picture.to(latents.device)], noise, timestep)
    return Noised(z, timestep, noise, picture)


def content_of(teacher: Teacher, contexts: Sequence[Context]) -> dict[str, object]:
    """All that the teacher's guided trajectories under `contexts` depend on, but for noise and
    guidance: what to keep them under.
    """
    told = [
        tensor
        for context in (encode_prompts(teacher, [""]), *contexts)
        for tensor in (context.states, context.pooled)
        if tensor is not None
    ]
    return {
        "base": tensors_sha256(teacher.unet.state_dict()),
        "network": _settings(teacher.unet.config),
        "schedule": _settings(teacher.scheduler.config),
        "told": tensors_sha256({str(i): tensor for i, tensor in enumerate(told)}),
        "computed": [torch.__version__, teacher.device.type, str(teacher.guide.dtype)],
    }


def _settings(config: Mapping[str, object]) -> dict[str, object]:
    """A configuration without what says where it came from."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


@torch.no_grad()
def decoded(teacher: Teacher, z: Tensor) -> Tensor:
    """The pictures that latents stand for: (n, 3, size, size) in [0, 1], on CPU."""
    pictures: Tensor = teacher.vae.decode(z / teacher.vae.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1).cpu()


@torch.no_grad()
def sample(
    teacher: Teacher,
    prompts: Sequence[str],
    seeds: Sequence[int],
    guidance: Sequence[float],
    steps: int,
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Pictures of `prompts` by classifier-free guidance: (n, 3, size, size) in [0, 1], on CPU.

    Args:
        teacher: The model, with a delta applied to its UNet or not.
        prompts: One per picture.
        seeds: One per picture; the same seed gives the same starting noise in every model.
        guidance: One per picture; eps = eps(0) + w (eps(c) - eps(0)), diffusers' `guidance_scale`.
        steps: DDIM steps.
        batch_size: Pictures per UNet call.
        on_batch: Called with the number of pictures of each finished batch.
    """
    empty, pictures = encode_prompts(teacher, [""]), []
    for first in range(0, len(prompts), batch_size):
        rows = slice(first, first + batch_size)
        context = encode_prompts(teacher, prompts[rows])
        w = torch.tensor(guidance[rows], device=teacher.device).view(-1, 1, 1, 1)
        predict = guided(teacher, teacher.unet, empty.expand(len(context)), context, w)
        z = denoise(teacher, initial_noise(teacher, seeds[rows]), steps, steps, predict)
        pictures.append(decoded(teacher, z))
        if on_batch:
            on_batch(len(context))
    return torch.cat(pictures)
