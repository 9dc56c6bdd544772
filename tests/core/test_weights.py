"""A delta belongs to one base, can be put on and taken off without a trace, and
survives the disk.
"""

import copy
import os
import stat

import pytest
import torch
from torch.testing import assert_close

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.network.weights import WeightDelta, read_tensors, tensors_sha256, write_tensors


@pytest.fixture
def base() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


@pytest.fixture
def edited(base: torch.nn.Module) -> torch.nn.Module:
    other = copy.deepcopy(base)
    with torch.no_grad():
        other[0].weight.mul_(1.1)
        other[1].bias.add_(0.3)
    return other


def test_applied_gives_the_edited_network_and_then_the_base_bit_for_bit(base, edited):
    delta = WeightDelta.between(base, edited, frozenset({"0.weight", "1.bias"}))
    before = tensors_sha256(base.state_dict())
    assert before != tensors_sha256(edited.state_dict())
    with delta.applied(base):
        for got, wanted in zip(base.parameters(), edited.parameters(), strict=True):
            assert_close(got, wanted, atol=1e-7, rtol=0)
    assert tensors_sha256(base.state_dict()) == before


def test_it_is_taken_off_even_when_the_body_fails(base, edited):
    delta, before = (
        WeightDelta.between(base, edited, frozenset({"0.weight"})),
        tensors_sha256(base.state_dict()),
    )
    with pytest.raises(ZeroDivisionError), delta.applied(base):
        raise ZeroDivisionError
    assert tensors_sha256(base.state_dict()) == before


def test_another_base_is_refused_and_left_alone(base, edited):
    delta, before = (
        WeightDelta.between(base, edited, frozenset({"0.weight"})),
        tensors_sha256(edited.state_dict()),
    )
    with pytest.raises(ContentChanged, match="network a delta is applied to"):
        delta.apply(edited)
    assert tensors_sha256(edited.state_dict()) == before


def test_hash_depends_on_content_and_base_but_not_on_order():
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])
    assert (
        WeightDelta("b", {"x": one, "y": two}).sha256
        == WeightDelta("b", {"y": two, "x": one}).sha256
    )
    different = [
        ("c", {"x": one, "y": two}),
        ("b", {"x": two, "y": one}),
        ("b", {"x": one + 1e-7, "y": two}),
        ("b", {"x": one}),
    ]
    assert len({WeightDelta(*d).sha256 for d in [("b", {"x": one, "y": two}), *different]}) == 5


def test_save_and_load_round_trip(base, edited, tmp_path):
    delta = WeightDelta.between(base, edited, frozenset({"0.weight", "1.bias"}))
    delta.save(tmp_path / "d.safetensors", method="test")
    again = WeightDelta.load(tmp_path / "d.safetensors")
    assert again.sha256 == delta.sha256
    assert again.base_sha256 == delta.base_sha256
    assert [f.name for f in tmp_path.iterdir()] == ["d.safetensors"]


def test_truncated_file_is_refused_with_its_name(base, edited, tmp_path):
    file = tmp_path / "d.safetensors"
    WeightDelta.between(base, edited, frozenset({"0.weight"})).save(file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(BadInput, match=r"d\.safetensors is not a readable safetensors file"):
        WeightDelta.load(file)


def test_a_full_disk_leaves_no_half_file(base, edited, tmp_path, monkeypatch):
    def full(_tensors, file, **_kwargs):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("erasure_core.network.weights.save_file", full)
    with pytest.raises(ErasureError, match="No space left"):
        WeightDelta.between(base, edited, frozenset({"0.weight"})).save(tmp_path / "d.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_write_one_file_both_are_done(tmp_path):
    """A trial beside a run: both make the same trajectories, and the one is done before."""
    file, tensors = tmp_path / "t.safetensors", {"x": torch.ones(2)}
    write_tensors(file, tensors, {}, lambda _: write_tensors(file, tensors, {}))
    assert torch.equal(read_tensors(file)[0]["x"], tensors["x"])
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


def test_a_delta_that_cannot_be_written_says_where(base, edited, tmp_path):
    delta = WeightDelta.between(base, edited, frozenset({"0.weight"}))
    with pytest.raises(
        ErasureError,
        match=(
            r"absent/delta\.safetensors could not be written \(.*No such file.*; make "
            r"its folder first and run again"
        ),
    ):
        delta.save(tmp_path / "absent" / "delta.safetensors")


def test_the_same_content_gives_the_same_bytes_whatever_order_it_is_told_in(tmp_path):
    """A checkpoint is named by the hash of its files, and one of them is a delta."""
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2)}
    facts = {key: f'{value} \u00fc\n\t"\\' for key, value in zip("abcdefgh", range(8), strict=True)}
    plain, turned = tmp_path / "plain", tmp_path / "turned"
    for _ in range(4):  # the library's own order changes from call to call
        write_tensors(plain, tensors, facts)
        write_tensors(turned, dict(reversed(tensors.items())), dict(reversed(facts.items())))
        assert plain.read_bytes() == turned.read_bytes()
    read, metadata = read_tensors(plain)
    assert metadata == facts
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_weights_are_open_to_whom_the_umask_allows(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(2)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == mode
