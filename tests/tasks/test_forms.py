"""The forms in which methods are compared."""

from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.methods import OWN, published, rece, uce
from erasure_core.planning.params import read_params
from tasks.comparing.forms import (
    SCALED,
    SPACE,
    as_published,
    as_set_here,
    check_methods,
    differing,
    ours,
    trial,
)

PARAMS = read_params(Path(__file__).parents[2] / "params.yaml")


def test_every_method_is_tuned_over_settings_that_it_has():
    assert SPACE.keys() == OWN.keys()
    for name, space in SPACE.items():
        assert space.keys() <= OWN[name].Settings.model_fields.keys()
        assert len(space) >= 2
        assert all(0 < low < high for low, high in space.values())


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("kind", ["likeness", "object", "style", "explicit"])
def test_a_trial_draws_within_its_bounds_and_stays_valid(method, kind):
    for number in range(1, 5):
        settings = trial(method, kind, PARAMS, number)
        for name, (low, high) in SPACE[method].items():
            assert low * 0.9 <= getattr(settings, name) <= high * 1.1
        again = type(settings).model_validate(settings.model_dump(by_alias=True))
        assert again == settings == trial(method, kind, PARAMS, number)


def test_trials_differ_from_one_another():
    drawn = [trial("uce", "object", PARAMS, number) for number in range(5)]
    assert len({settings.lamb for settings in drawn}) == 5


def test_the_first_trial_is_what_the_parameters_hold():
    assert trial("rece", "likeness", PARAMS, 0).hold == PARAMS.methods["rece"].hold == 1
    lambdas = (trial("all_but_one", "likeness", PARAMS, 0).lambda_, PARAMS.lambdas[0])
    assert lambdas[0] == lambdas[1]


def test_a_method_without_parameters_begins_as_published():
    bare = PARAMS.model_copy(update={"methods": {}})
    assert as_set_here("uce", "object", bare) == uce.PRESETS["object"]


def test_the_published_form_is_the_methods_own_for_the_kind():
    assert as_published("rece", "style") == rece.PRESETS["style"]
    assert as_published("rece", "likeness") == rece.PRESETS["object"]
    assert as_published("esd", "explicit").variant == "u"
    assert as_published("ablating", "explicit").group == "attn"


def test_only_numbers_of_pictures_are_scaled():
    assert {name for settings in SCALED.values() for name in settings} == {"images"}
    for method, settings in SCALED.items():
        assert differing(as_published(method, "object"), "object") == settings
        assert published(method, "object").images > settings["images"]


def test_what_is_ours_is_told_from_what_is_another_value():
    settings = as_set_here("all_but_one", "likeness", PARAMS)
    assert ours(settings, "likeness") == {"keep_weight": 30, "trajectories": 24}
    assert {"lr", "group", "batch"} <= differing(settings, "likeness").keys()
    assert ours(as_published("all_but_one", "likeness"), "likeness") == {}


def test_a_value_of_a_setting_can_be_ours_where_its_others_are_the_papers():
    settings = as_published("sepme", "object")
    mine = settings.model_copy(update={"target": "replace", "keep": True, "tolerance": 0.03})
    told = {"target": "replace", "keep": True, "tolerance": 0.03}
    assert ours(mine, "object") == told
    assert ours(mine.model_copy(update={"target": "correlation"}), "object") == {
        name: value for name, value in told.items() if name != "target"
    }


@pytest.mark.parametrize(("names", "said"), [(["uce", "use"], "'use'"), (["uce", "uce"], "twice")])
def test_methods_are_known_and_named_once(names, said):
    with pytest.raises(BadInput, match=said):
        check_methods(names)
