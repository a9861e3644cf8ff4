from dataclasses import replace

import pytest

from dmws_lite.method.distillation import Distillation
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.study import make_study, read_study, studies
from dmws_lite.training.settings import Training

CONTENT = {"name": "mine", "data": ["my/a.md", "."], "methods": ["weight_selection", "dual_skd"], "seeds": [3, 5]}


@pytest.mark.parametrize("name", studies())
def test_the_kept_studies_can_be_read(name):
    study = read_study(name)
    assert study.name == name and study.question.endswith("?") and len(study) == len(list(study.grid())) > 0
    grid = {"default", "default_skd_same", "default_skd_other", "weight_selection", "single_skd", "dual_skd"}
    assert grid <= set(study.resolved) or name not in ("smoke", "lecture", "parts", "paper")


def test_the_grid_is_every_combination_seeds_before_methods():
    study = make_study(**CONTENT, fractions=[1.0, 0.1])
    cells = [(data.title, fraction, seed, name) for data, _, fraction, seed, name in study.grid()]
    assert len(study) == len(cells) == len(set(cells)) == 2 * 2 * 2 * 2 and all(cells[-1])
    assert cells[:2] == [("a", 0.1, 3, "weight_selection"), ("a", 0.1, 3, "dual_skd")] and cells[2][2] == 5


def test_settings_reach_training_and_distillation():
    study = make_study(**CONTENT, training={"steps": 7, "lr": "5e-4"}, distillation={"alpha": 0.3, "half_life": 0.2})
    assert study.training == Training(steps=7, lr=5e-4)  # YAML 1.1 takes 5e-4 for a text
    assert METHODS["dual_skd"].distillation(study.distillation) == Distillation(alpha=0.3, half_life=0.2)
    assert METHODS["alpha_0.9"].distillation(study.distillation) == Distillation(alpha=0.9, half_life=0.2)
    assert make_study(**CONTENT, training=Training(steps=7, seed=5)).training == Training(steps=7)


def test_the_reference_is_single_selection_or_the_first_method():
    assert make_study(**CONTENT).reference == "weight_selection"
    assert make_study(**CONTENT | {"methods": ["dual_skd", "default"]}).reference == "dual_skd"
    with pytest.raises(ValueError, match="unknown reference 'default': choose from weight_selection, dual_skd"):
        make_study(**CONTENT, reference="default")


def test_a_variant_is_its_base_but_for_its_changes_and_a_definition_makes_the_same_study_again():
    entry = {"name": "slow", "of": "dual_swapped", "students": {"elements": "random"}, "skd": {"half_life": 0.5}}
    study = make_study(**CONTENT | {"methods": ["weight_selection", entry]}, training={"steps": 7})
    changes = {"students": {"swap": True, "elements": "random"}, "skd": {"half_life": 0.5}}
    definition = "dual_swapped with elements=random, half_life=0.5"
    assert study.resolved["slow"] == replace(METHODS["dual_swapped"], label="slow", definition=definition, **changes)
    assert make_study(**study.definition()) == study and "threads" not in study.definition()


def variant(**changes):
    return {"methods": [{"name": "a", "of": "dual_skd"} | changes]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["weight_selection", "dual_sdk"]}, r"unknown method 'dual_sdk' \(did you mean 'dual_skd'\?\)"),
        (variant(training={"steps": "many"}), r"variant 'a' \(steps=many\): steps is 'many': it should be"),
        ({"methods": ["dual", "dual"]}, "method 'dual' is there twice"),
        ({"methods": ["dual", *variant(label=METHODS["dual"].label)["methods"]]}, "label 'dual .* twice: give 'a'"),
        (variant(name=""), "name is '': it should have at least 1"),
        *(({"seeds": n}, f"seeds is {n}: give a number from 1 to 10000, or a list") for n in (0, 10**12)),
        ({"training": {"stepps": 3}}, r"training has an unknown key 'stepps' \(did you mean 'steps'\?\): its keys are"),
        (variant(students={"seed": 5}), r"variant 'a' \(seed=5\): has an unknown key 'seed': its"),
        (variant(skd={"half_life": -1}), r"variant 'a' \(half_life=-1\): .* must be above 0"),
        ({"data": ["x/a", "y/a"]}, "with one name twice"),
        ({"fraction": [0.1]}, r"study: has an unknown key 'fraction' \(did you mean 'fractions'\?\): its keys are"),
        ({"name": "../up"}, "name is '../up': it should match pattern"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_way_out(changes, message):
    with pytest.raises(ValueError, match=message):
        make_study(**CONTENT | changes)


def test_files_that_are_no_study(tmp_path):
    for text, message in (("a: [1", "is no YAML"), ("- 1", "holds"), ("a: 2\na: 3", "line 2: .*'a' is written twice")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_study(tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match=r"unknown study 'lectur' \(did you mean 'lecture'\?\)"):
        read_study("lectur")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_study(tmp_path / "none.yaml")
    (tmp_path / "my é study.yaml").write_text("data: [x]\nmethods: [dual]\nseeds: 1")
    assert read_study(tmp_path / "my é study.yaml").name == "my_study"
