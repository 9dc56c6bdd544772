"""The README's commands, typed one after another in the state that the acceptance left."""

import pytest

from ..readme import commands

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "words", [words for words in commands() if words[0].endswith("erasure")], ids=" ".join
)
def test_it_runs(erasure, tmp_path, words):
    arguments = [
        tmp_path / "pictures" if previous == "--out" else word
        for previous, word in zip(["", *words], words, strict=False)
    ]
    answer = erasure(*arguments[1:])
    assert answer.code == 0, answer.err
