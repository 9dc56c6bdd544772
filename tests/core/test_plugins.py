"""Another package's method, metric, attack and detector are found, used, and part of a run's key.

The example package is installed into a folder of its own, as pip installs any; each question is put
to a process that has this folder on its path.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest
import torch

from erasure_core import plugins
from erasure_core.errors import BadInput
from erasure_core.methods import all_methods
from erasure_core.metrics.detectors import opened
from erasure_core.plugins import hashes

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/plugin"
ASK = """
import json, sys
from erasure_core.law.requests import known_methods
light = "torch" not in sys.modules
methods = known_methods()
from erasure_core.attacks import all_attacks
from erasure_core.methods import METHODS
from erasure_core.metrics.detectors import all_detectors
from erasure_core.plugins import hashes
from erasure_core.planning.params import read_params
from tasks.evidence.measure import kept_metrics, target_metrics
from tasks.release import cite
from tasks.requests.plan import Inputs
from pathlib import Path
words = Path("examples/plugin/pyproject.toml").read_text().splitlines()[0].rstrip(")").split()
changes = [word for before, word in zip(words, words[1:]) if before == "--set"]
method = words[words.index("--method") + 1] if "--method" in words else None
inputs = Inputs.read(Path("params.yaml"), method=method, changes=changes)
exact = "methods:\\n  exact: {cutoff: 0.01}\\n#"
text = Path("params.yaml").read_text().replace("methods:  ", exact)
Path(sys.argv[1]).write_text(text)
print(json.dumps({
    "light": light, "named": "exact" in methods, "method": METHODS["exact"].__name__,
    "attack": all_attacks()["capitals"].AUDIENCE, "detectors": sorted(all_detectors()),
    "kept": [name for name in kept_metrics() if name.startswith("bright")],
    "target": [name for name in target_metrics() if "grey" in name],
    "settings": read_params(Path(sys.argv[1])).with_method("exact").method.cutoff,
    "hashes": hashes(), "shown": {m["method"]: m for m in cite.methods()}.get("exact"),
    "documented": inputs.params.with_method(method).method.method,
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder into which pip installed the example."""
    folder = tmp_path_factory.mktemp("plugin")
    source = Path(shutil.copytree(EXAMPLE, folder / "source"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    how = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "target")]
    subprocess.run([*pip, *how, str(source)], check=True, capture_output=True)
    return folder / "target"


def asked(folder: Path, tmp_path: Path) -> dict:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", ASK, str(tmp_path / "params.yaml")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answer(installed, tmp_path_factory) -> dict:
    return asked(installed, tmp_path_factory.mktemp("asked"))


def test_its_method_is_known_without_torch(answer):
    assert answer["light"]
    assert answer["named"]


def test_its_method_has_settings_in_the_parameters(answer):
    assert (answer["method"], answer["settings"]) == ("erasure_example.exact", 0.01)


def test_the_command_that_its_file_names_uses_its_method(answer):
    assert answer["documented"] == "exact"


def test_it_is_listed_with_what_its_header_says_and_what_it_does_not(answer):
    assert answer["shown"]["cost"] == "One singular value decomposition of the erased states."
    assert (answer["shown"]["restore"], answer["shown"]["lora"]) == ("not said", "not said")


def test_its_metric_can_be_limited(answer):
    assert answer["kept"] == [f"brightness_drop{p}" for p in ("", "[listed]", "[not listed]")]


def test_its_metric_of_a_concept_can_be_limited(answer):
    assert answer["target"] == ["grey_rate", "composed.grey_rate"]


def test_its_attack_and_its_detector_are_found(answer):
    assert answer["attack"] == "words"
    assert answer["detectors"] == ["nudenet", "redness"]


@pytest.mark.slow
def test_one_byte_of_it_changes_its_hash(installed, answer, tmp_path):
    other = Path(shutil.copytree(installed, tmp_path / "other"))
    with (other / "erasure_example/exact.py").open("a") as file:
        file.write("#")
    before, after = answer["hashes"], asked(other, tmp_path)["hashes"]
    assert before.keys() == after.keys() == {"plugin erasure-example"}
    assert before != after


@pytest.fixture
def brought(tmp_path):
    """Makes a distribution of one package, installed below a folder; its hash."""

    def brought(place: str, editable: bool, code: str = "x = 1\n") -> str:
        site, bin_ = tmp_path / place / "lib/site-packages", tmp_path / place / "bin"
        source = tmp_path / place / "source" if editable else site
        files = {
            bin_ / "plug": f"#!{bin_}/python\n",
            site / "plug-1.dist-info/METADATA": "Name: plug\nVersion: 1\n",
            source / "plug/__init__.py": code,
        }
        if editable:
            files[site / "__editable__.plug-1.pth"] = f"{source}\n"
            files[site / "__editable___plug_1_finder.py"] = f"MAPPING = {{'plug': '{source}'}}\n"
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        listed = [
            os.path.relpath(f, site) for f in files if f.is_relative_to(site) or f.parent == bin_
        ]
        (site / "plug-1.dist-info/RECORD").write_text("".join(f"{f},,\n" for f in listed))
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(source))
            return plugins._sha256(Distribution.at(site / "plug-1.dist-info"), ["plug"])

    return brought


@pytest.mark.parametrize("editable", [False, True])
def test_a_plugin_has_one_hash_wherever_it_is_installed(editable, brought):
    here = brought("here", editable)
    assert brought("there", editable) == here
    assert brought("elsewhere", editable, code="x = 2\n") != here


@pytest.mark.parametrize("helper", ["acme_math/__init__.py", "acme_math.py"])
@pytest.mark.parametrize("by", ["setuptools", "hatch, poetry or flit"])
def test_another_package_that_it_brings_is_hashed_too(by, helper, tmp_path, monkeypatch):
    """What its modules import of its own decides results as they do. Only setuptools says which
    packages these are; others put the project's folder on the path.
    """
    site, source = tmp_path / "site", tmp_path / "source"
    record = site / "acme-1.dist-info"
    says = {"setuptools": (record / "top_level.txt", "acme_erase\nacme_math\n")}
    where, text = says.get(by, (site / "_acme.pth", f"{source}\n"))
    files = {
        record / "METADATA": "Name: acme\nVersion: 1\n",
        record / "entry_points.txt": "[erasure.methods]\nexacter = acme_erase\n",
        record / "RECORD": "_acme.pth,,\n",
        where: text,
        source / "acme_erase/__init__.py": "from acme_math import X\n",
        source / helper: "X = 1\n",
        source / "tests/__init__.py": "",
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(str(source))
    dist = Distribution.at(record)
    monkeypatch.setattr(plugins, "_declared", lambda group: tuple(dist.entry_points))
    before = hashes()
    (source / "tests/__init__.py").write_text("Y = 1\n")
    assert before == hashes()
    (source / helper).write_text("X = 2\n")
    assert before.keys() == hashes().keys() == {"plugin acme"}
    assert before != hashes()


def test_nothing_installed_is_nothing_to_hash():
    assert hashes() == {}


@pytest.fixture
def example(monkeypatch):
    """The example's modules, from its source."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    points = [EntryPoint("exact", "erasure_example.exact", "erasure.methods")]
    return all_methods(points)["exact"]


def test_the_example_sends_each_row_to_its_target_and_leaves_what_is_orthogonal(example):
    torch.manual_seed(0)
    rows, targets = torch.randn(3, 8).double(), torch.randn(3, 8).double()
    from erasure_example.exact import smallest_map

    p = smallest_map(rows, targets, 1e-9)
    torch.testing.assert_close(rows @ p.T, targets)
    beside = torch.linalg.svd(rows).Vh[3:]
    torch.testing.assert_close(beside @ p.T, beside)


def test_the_example_erases_as_every_method_does(example, tiny_teacher, astronaut):
    from erasure_core.network.work import Work

    settings = example.Settings()
    before = {n: w.clone() for n, w in tiny_teacher.unet.state_dict().items()}
    delta, again = (
        example.erase(tiny_teacher, [astronaut], settings, Work(seed=7)) for _ in range(2)
    )
    assert delta.sha256 == again.sha256
    assert set(delta.names) <= example.declared(tiny_teacher.unet, settings)
    for name, weight in tiny_teacher.unet.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_method_whose_settings_bear_another_name_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    points = [EntryPoint("other", "erasure_example.exact", "erasure.methods")]
    with pytest.raises(BadInput, match="method 'other': its Settings need the field"):
        all_methods(points)


@pytest.mark.parametrize("function", ["erase", "prepare", "check"])
def test_a_method_with_other_arguments_is_refused_before_any_work(function, example, monkeypatch):
    monkeypatch.setattr(example, function, lambda teacher: None)
    points = [EntryPoint("exact", "erasure_example.exact", "erasure.methods")]
    with pytest.raises(BadInput, match=r"each with the arguments of erasure_core\.methods\.Method"):
        all_methods(points)


def test_a_function_that_does_not_tell_its_arguments_is_believed():
    assert plugins.takes(max, 2)
    assert plugins.takes(lambda *given, **named: None, 5, "clusters")
    assert not plugins.takes("text", 0)


def test_an_unknown_detector_is_refused_with_those_there_are():
    with pytest.raises(BadInput, match="no detector 'yolo'; use one of nudenet"):
        opened("yolo", 0.5, 320)
