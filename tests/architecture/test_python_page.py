"""The page on Python runs as it stands, block after block, on the gallery."""

import re
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.model import Model

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the page's names are once all of it has run."""
    folder, names = tmp_path_factory.mktemp("page"), dict[str, object]()
    (folder / "models").symlink_to(ROOT / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            exec(compile(block, "docs/python.md", "exec"), names)
        yield names


def test_it_erases_what_it_says(run):
    assert "astronaut" in set(run["gone"].named_by_other)
    assert "astronaut" not in set(run["gone"].named)


def test_it_keeps_the_rest(run):
    assert (run["kept"].named == run["kept"].named_by_other).all()
    assert run["kept"].ssim.min() > run["gone"].ssim.max()


def test_what_is_saved_reads_back(run):
    assert run["again"].delta.sha256 == run["student"].delta.sha256


def test_its_pipeline_draws_with_the_changed_weights(run):
    weights = run["pipeline"].unet.state_dict()
    with run["student"].delta.applied(run["base"].teacher.unet) as unet:
        assert all((weights[name] == w).all() for name, w in unet.state_dict().items())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"method": "none"}, "no method 'none'; choose ablating"),
        ({"method": "uce", "lamda": 1}, "uce: lamda: Extra inputs are not permitted; its settings"),
    ],
)
def test_what_it_does_not_know_is_said(run, how, said):
    with pytest.raises(BadInput, match=said):
        run["base"].erased(run["astronaut"], **how)


def test_the_base_has_nothing_to_save(tmp_path):
    with pytest.raises(BadInput, match="nothing was changed; erase first"):
        Model.load(ROOT / "models/gallery/teacher").save(tmp_path / "none.safetensors")
