"""The few diffusion operations that every method shares, with their shapes. z: (n, c, h, w).

Methods think in noise: what a network predicts instead is converted here, and here alone.

Everything is deterministic: DDIM with eta 0, and each picture's noise comes from its own seed, so that a picture does
not depend on the batch it was made in (to about 1e-6 on CPU).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from erasure_core.errors import BadInput
from erasure_core.models import Teacher

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from transformers import CLIPTokenizer

Predict = Callable[[Tensor, int], Tensor]  # (z, timestep) -> noise


@dataclass(frozen=True, slots=True)
class Context:
    """What the network is told about n prompts."""

    states: Tensor  # (n, tokens, d_text), what cross-attention reads
    ids: Tensor  # (n, tokens), the tokens they belong to

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Tensor | slice) -> "Context":
        return Context(self.states[rows], self.ids[rows])

    def expand(self, n: int) -> "Context":
        """One prompt, n times."""
        return Context(self.states.expand(n, -1, -1), self.ids.expand(n, -1))

    @classmethod
    def cat(cls, contexts: Sequence["Context"]) -> "Context":
        """One after another."""
        return cls(torch.cat([c.states for c in contexts]), torch.cat([c.ids for c in contexts]))


def check_prompts(tokenizer: "CLIPTokenizer", prompts: Sequence[str]) -> None:
    """Refuse prompts that the tokenizer would cut: what is cut is neither erased nor measured.

    Raises:
        BadInput: Naming the first prompt that is too long, its length and the limit.
    """
    limit = tokenizer.model_max_length
    for prompt in prompts:
        tokens = len(tokenizer(prompt).input_ids)
        if tokens > limit:
            raise BadInput(f"prompt {prompt!r} has {tokens} tokens with its two markers; this base reads {limit}; shorten it")


@torch.no_grad()
def encode_prompts(teacher: Teacher, prompts: Sequence[str]) -> Context:
    """The text states of each prompt, padded to the tokenizer's limit."""
    check_prompts(teacher.tokenizer, prompts)
    ids = teacher.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
    ids = ids.to(teacher.unet.device)
    return Context(teacher.text_encoder(ids).last_hidden_state, ids)


def predict_noise(teacher: Teacher, unet: nn.Module, z: Tensor, timestep: Tensor | int, context: Context) -> Tensor:
    """eps(z, c, t) of `unet`, which is the teacher's or a student of it; shape of `z`. `timestep` is one for all or (n,)."""
    found: Tensor = unet(z, timestep, encoder_hidden_states=context.states).sample
    if teacher.scheduler.config.prediction_type == "epsilon":
        return found
    kept = teacher.scheduler.alphas_cumprod.to(z.device)[timestep].view(-1, 1, 1, 1)  # v = sqrt(kept) eps - sqrt(1 - kept) x_0
    return kept.sqrt() * found + (1 - kept).sqrt() * z


def predict_each(teacher: Teacher, unet: nn.Module, z: Tensor, timestep: Tensor | int, contexts: Sequence[Context]) -> list[Tensor]:
    """eps of the same `z` under several contexts (each of n prompts), in one batched call."""
    repeats = len(contexts)
    times = timestep.repeat(repeats) if isinstance(timestep, Tensor) and timestep.ndim else timestep
    return list(predict_noise(teacher, unet, z.repeat(repeats, 1, 1, 1), times, Context.cat(contexts)).chunk(repeats))


def guided(teacher: Teacher, unet: nn.Module, nothing: Context, context: Context, w: Tensor | float) -> Predict:
    """Classifier-free guidance, eps(0) + w (eps(c) - eps(0)), as a function to `walk` with; `w` is one for all or (n, 1, 1, 1)."""

    def predict(z: Tensor, timestep: int) -> Tensor:
        e_null, e_cond = predict_each(teacher, unet, z, timestep, [nothing, context])
        return e_null + w * (e_cond - e_null)

    return predict


def noise_scheduler(teacher: Teacher) -> "DDIMScheduler":
    """The teacher's schedule, told that it is given noise, whatever the network predicts."""
    scheduler: DDIMScheduler = type(teacher.scheduler).from_config(teacher.scheduler.config, prediction_type="epsilon")
    return scheduler


def timesteps(teacher: Teacher, steps: int) -> list[int]:
    """The scheduler's timesteps of a walk of `steps` steps, noisiest first."""
    scheduler = noise_scheduler(teacher)
    scheduler.set_timesteps(steps)
    return [int(t) for t in scheduler.timesteps]


@torch.no_grad()
def walk(teacher: Teacher, z: Tensor, steps: int, stop: int, predict: Predict) -> Tensor:
    """Denoise `z` by the first `stop` of `steps` DDIM steps (eta 0) with the noise that `predict` returns.

    `stop = 0` does no step; the state returned belongs to timestep number `stop` (`methods.md` calls it tau).
    """
    scheduler = noise_scheduler(teacher)
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps[:stop]:
        z = scheduler.step(predict(z, int(timestep)), timestep, z, eta=0.0).prev_sample
    return z


def initial_noise(teacher: Teacher, seeds: Sequence[int]) -> Tensor:
    """One z_T per seed, each from its own generator: (len(seeds), c, h, w)."""
    config = teacher.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    drawn = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(teacher.unet.device)


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
        on_batch: Hears how many pictures were finished.
    """
    empty, pictures = encode_prompts(teacher, [""]), []
    for first in range(0, len(prompts), batch_size):
        rows = slice(first, first + batch_size)
        context = encode_prompts(teacher, prompts[rows])
        w = torch.tensor(guidance[rows], device=teacher.unet.device).view(-1, 1, 1, 1)
        predict = guided(teacher, teacher.unet, empty.expand(len(context)), context, w)
        z = walk(teacher, initial_noise(teacher, seeds[rows]), steps, steps, predict)
        decoded = teacher.vae.decode(z / teacher.vae.config.scaling_factor).sample
        pictures.append((decoded / 2 + 0.5).clamp(0, 1).cpu())
        if on_batch:
            on_batch(len(context))
    return torch.cat(pictures)
