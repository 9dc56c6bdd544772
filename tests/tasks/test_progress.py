"""A bar's title is shown as it is."""

from tasks.progress import progress


def test_a_name_in_a_title_is_no_markup(capsys):
    with progress("attack, rocket [/x]", 1) as advance:
        advance(1)
    assert "attack, rocket [/x]" in capsys.readouterr().err
