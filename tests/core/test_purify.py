"""Purification: what one network unmakes and makes again stays as it was; a changed network makes
something else of it.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler
from PIL import Image
from torch.testing import assert_close

from erasure_core import purify
from erasure_core.errors import BadInput, ContentChanged
from erasure_core.gallery.pictures import photograph
from erasure_core.metrics.ssim import ssim
from erasure_core.network import diffusion, layers, models
from erasure_core.network.weights import WeightDelta, tensors_sha256
from tests.marks import slow

ROOT = Path(__file__).parents[2]
STEPS = 8


@pytest.fixture
def teacher(tiny_teacher):
    """The toy pipeline with a network whose noise depends on where it is asked: fresh weights
    hardly say anything.
    """
    generator = torch.Generator().manual_seed(1)
    for parameter in tiny_teacher.unet.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return tiny_teacher


@pytest.fixture
def student(teacher):
    """A change of the whole network, so that it predicts something else without a prompt too."""
    generator = torch.Generator().manual_seed(2)
    names = layers.select(teacher.unet, "full")
    changes = {name: 0.05 * torch.randn(p.shape, generator=generator) for name, p in names.items()}
    return WeightDelta(tensors_sha256(teacher.unet.state_dict()), changes)


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(3)]


def as_file(picture: Image.Image, form: str, **how) -> Image.Image:
    """A picture as it is opened from a file."""
    stream = io.BytesIO()
    picture.save(stream, form, **how)
    return Image.open(stream)


def test_a_photograph_taken_sideways_is_upright(pictures):
    """A camera stores how it was held: 6 is a quarter turn, top at the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = pictures[0].transpose(Image.Transpose.ROTATE_90)
    seen = as_file(sideways, "PNG", exif=exif)
    assert np.array_equal(purify.fit(seen, 16)[0], pictures[0])


def test_grey_of_16_bits_keeps_its_tones():
    values = np.array([[0, 257], [257 * 128, 2**16 - 1]], np.uint16)
    seen = purify.as_seen(as_file(Image.fromarray(values), "PNG"))
    assert np.asarray(seen)[..., 0].tolist() == [[0, 1], [128, 255]]


def test_what_is_transparent_is_white():
    values = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)
    pixels = Image.fromarray(values)
    for picture in (pixels, pixels.convert("LA"), pixels.quantize(4)):
        seen = np.asarray(purify.as_seen(as_file(picture, "PNG")))
        assert seen[0, 0].tolist() == [255] * 3
        assert seen[0, 1].max() < 40


def unchanged(student: WeightDelta) -> WeightDelta:
    return WeightDelta(
        student.base_sha256, {name: torch.zeros_like(t) for name, t in student.tensors.items()}
    )


def without_prompt(teacher, n: int):
    context = diffusion.encode_prompts(teacher, [""]).expand(n)
    return lambda z, t: diffusion.predict_noise(teacher, teacher.unet, z, t, context)


def latents(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(7))


def tensor_of(pictures) -> torch.Tensor:
    return (
        torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).float()
        / 255
    )


# --- the inversion
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predicts", ["epsilon", slow("v_prediction")])
@pytest.mark.parametrize("spacing", ["leading", slow("trailing")])
def test_the_way_back_from_the_inversion_returns_the_picture(teacher, predicts, spacing):
    scheduler = type(teacher.scheduler).from_config(
        teacher.scheduler.config, prediction_type=predicts, timestep_spacing=spacing
    )
    teacher, z = replace(teacher, scheduler=scheduler), latents()
    predict = without_prompt(teacher, len(z))
    back = {}
    for refinements in (0, 20):
        noise = purify.invert(teacher, z, STEPS, predict, refinements)
        back[refinements] = (
            diffusion.denoise(teacher, noise, STEPS, STEPS, predict) - z
        ).norm() / z.norm()
    assert (noise - z).norm() > 0.1 * z.norm()
    assert back[20] < 5e-3
    assert back[0] > 10 * back[20]


def test_without_refinement_a_step_is_that_of_diffusers_inverse_schedule(teacher):
    z, predict = latents(), without_prompt(teacher, 2)
    inverse = DDIMInverseScheduler.from_config(teacher.scheduler.config)
    inverse.set_timesteps(STEPS)
    expected = z
    with torch.no_grad():
        for t in inverse.timesteps:
            expected = inverse.step(predict(expected, int(t)), t, expected).prev_sample
    assert_close(purify.invert(teacher, z, STEPS, predict, 0), expected, atol=1e-4, rtol=1e-4)


def test_a_changed_network_does_not_return_the_picture(teacher, student):
    z, predict = latents(), without_prompt(teacher, 2)
    noise = purify.invert(teacher, z, STEPS, predict, 8)
    with student.applied(teacher.unet):
        other = diffusion.denoise(teacher, noise, STEPS, STEPS, predict)
    assert (other - z).norm() > 0.05 * z.norm()


# --- pictures
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_student_that_changes_nothing_returns_the_gallerys_photographs():
    """Real pictures and the embedded teacher: all that is lost is what its autoencoder loses."""
    teacher, draws = models.load_teacher(ROOT / "models/gallery/teacher"), np.random.default_rng(3)
    pictures = [photograph(name, draws) for name in ("astronaut", "cat")]
    nothing = WeightDelta(tensors_sha256(teacher.unet.state_dict()), {})
    kept = purify.purify(teacher, nothing, pictures, steps=STEPS)
    with torch.no_grad():
        z = (
            teacher.vae.encode(tensor_of(pictures) * 2 - 1).latent_dist.mode()
            * teacher.vae.config.scaling_factor
        )
    assert ssim(tensor_of(kept.pictures), diffusion.decoded(teacher, z)).min() > 0.98
    assert ssim(tensor_of(kept.pictures), tensor_of(pictures)).min() > 0.9
    assert kept.fitted == [False, False]


@pytest.mark.slow
def test_the_students_change_its_prompt_and_its_guidance_each_matter(teacher, student, pictures):
    asked = [{}, {"prompt": "the astronaut"}, {"prompt": "the astronaut", "guidance": 4.0}]
    made = [
        tensor_of(purify.purify(teacher, student, pictures, steps=STEPS, **a).pictures)
        for a in asked
    ]
    made.append(
        tensor_of(purify.purify(teacher, unchanged(student), pictures, steps=STEPS).pictures)
    )
    for i, one in enumerate(made):
        for other in made[:i]:
            assert (one - other).abs().max() > 2 / 255


def test_guidance_of_one_is_the_prompt_alone(teacher, student, pictures):
    alone, nearly = (
        purify.purify(teacher, student, pictures, steps=STEPS, prompt="cat", guidance=w).pictures
        for w in (1.0, 1.0 + 1e-6)
    )
    assert (tensor_of(alone) - tensor_of(nearly)).abs().max() <= 1 / 255


def test_a_picture_does_not_depend_on_its_batch(teacher, student, pictures):
    heard = []
    together = purify.purify(teacher, student, pictures, steps=STEPS)
    apart = purify.purify(
        teacher, student, pictures, steps=STEPS, batch_size=2, on_batch=heard.append
    )
    assert (tensor_of(together.pictures) - tensor_of(apart.pictures)).abs().max() <= 1 / 255
    assert heard == [2, 1]


def test_the_teacher_is_left_as_it_was(teacher, student, pictures):
    before = tensors_sha256(teacher.unet.state_dict())
    purify.purify(teacher, student, pictures, steps=STEPS)
    assert tensors_sha256(teacher.unet.state_dict()) == before


# --- fitting
# ---------------------------------------------------------------------------------------------


def test_the_central_square_is_kept_and_resized():
    """A wide picture: red sides go, the green middle stays."""
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 255, 0), (20, 0, 40, 20))
    fitted, changed = purify.fit(wide, 16)
    assert changed
    assert fitted.size == (16, 16)
    assert np.asarray(fitted)[..., 1].min() == 255
    assert np.asarray(fitted)[..., 0].max() == 0


@pytest.mark.parametrize("size", [(20, 60), (16, 17), (8, 8), (64, 64)])
def test_any_other_size_is_fitted_and_said_so(teacher, student, size):
    made = purify.purify(teacher, student, [Image.new("RGB", size, (9, 90, 200))], steps=2)
    assert made.fitted == [True]
    assert made.pictures[0].size == (16, 16)


def test_a_picture_of_the_right_size_is_left_alone(pictures):
    fitted, changed = purify.fit(pictures[0], 16)
    assert not changed
    assert np.array_equal(np.asarray(fitted), np.asarray(pictures[0]))


def test_a_grey_picture_becomes_rgb():
    assert purify.fit(Image.new("L", (16, 16), 77), 16)[0].mode == "RGB"


# --- refusals
# ---------------------------------------------------------------------------------------------


def test_no_picture_is_refused(teacher, student):
    with pytest.raises(BadInput, match="no picture to purify"):
        purify.purify(teacher, student, [])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": "cat " * 20}, "22 tokens with its two markers; this base reads 16"),
        ({"steps": 1000}, "a trajectory of 1000 steps"),
    ],
)
def test_what_the_base_cannot_do_is_refused(teacher, student, pictures, asked, said):
    with pytest.raises(BadInput, match=said):
        purify.purify(teacher, student, pictures, **asked)


def test_the_student_of_another_base_is_refused(teacher, student, pictures):
    teacher.unet.conv_in.weight.data += 1e-3
    with pytest.raises(ContentChanged):
        purify.purify(teacher, student, pictures, steps=2)
