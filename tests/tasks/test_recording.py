"""What a version's record holds the hash of."""

from erasure_core.law.lineage import manifest, root_sha256, sha256_file
from tasks.release.recording import hashes


def test_what_was_drawn_under_attack_is_hashed(tmp_path):
    sheet = tmp_path / "attacks/default/cat/plain.png"
    sheet.parent.mkdir(parents=True)
    (tmp_path / "attacks/default-2/cat").mkdir(parents=True)  # attacked without pictures
    names = ("attacks/default.json", "d", "plan.json")
    for file in (sheet, *(tmp_path / name for name in names)):
        file.write_bytes(file.name.encode())
    assert hashes(tmp_path, tmp_path / "d") == {
        "attacks/default": root_sha256(manifest(tmp_path / "attacks/default")),
        **{name: sha256_file(tmp_path / name) for name in names},
    }
