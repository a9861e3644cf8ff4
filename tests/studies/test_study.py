import pytest

from dmws_lite.method.distillation import Distillation
from dmws_lite.studies.methods import METHODS, find_method, variant
from dmws_lite.studies.study import budget, make_study, read_study, studies
from dmws_lite.training.settings import Training

SAID = {"name": "mine", "data": ["a", "b"], "methods": ["weight_selection", "dual_skd"], "seeds": [3, 5]}


@pytest.mark.parametrize("name", studies())
def test_the_kept_studies_can_be_read(name):
    study = read_study(name)
    assert study.name == name and study.question.endswith("?")
    assert len(study) == len(list(study.grid())) > 0


def test_the_kept_studies_are_as_promised():
    paper = read_study("paper")
    assert paper.fractions == [0.01, 0.05, 0.1, 1.0] and len(paper.data) == 3 and paper.device == "cuda"
    vit, convnext = (pair.title for pair in paper.pairs)
    assert vit.startswith("vit_small") and "vit_tiny" in vit and "convnext_tiny" in convnext and "femto" in convnext
    assert len(read_study("lecture").seeds) == 5
    grid = {"default", "default_skd_same", "default_skd_other", "weight_selection", "single_skd", "dual_skd"}
    assert all(grid <= set(read_study(name).resolved) for name in ("smoke", "lecture", "parts", "paper"))


def test_every_method_of_the_issue_has_a_name_and_a_line():
    names = "default xavier kaiming truncated_normal mimetic weight_selection selection_consecutive selection_random"
    names += " selection_random_inconsistent selection_magnitude selection_heads single_skd dual dual_skd random_skd"
    names += " dual_frozen dual_trained dual_swapped selection_dlb selection_ps_kd selection_cs_kd selection_tf_kd"
    names += " layers_last layers_uniform kd selection_kd full_teacher native"
    assert set(names.split()) <= set(METHODS)
    assert len({method.label for method in METHODS.values()}) == len(METHODS)
    assert all(method.definition and "\n" not in method.definition for method in METHODS.values())


def test_the_grid_is_every_combination_seeds_before_methods():
    study = make_study(**SAID, fractions=[1.0, 0.1])
    cells = [(data.title, fraction, seed, name) for data, _, fraction, seed, name in study.grid()]
    assert len(study) == len(cells) == len(set(cells)) == 2 * 2 * 2 * 2
    assert cells[:3] == [
        ("a", 0.1, 3, "weight_selection"),
        ("a", 0.1, 3, "dual_skd"),
        ("a", 0.1, 5, "weight_selection"),
    ]


def test_settings_reach_training_and_distillation():
    study = make_study(**SAID, training={"steps": 7}, distillation={"alpha": 0.3, "half_life": 0.2})
    assert study.training_of(5) == Training(steps=7, seed=5)
    assert study.distillation_of(find_method("dual_skd")) == Distillation(alpha=0.3, half_life=0.2)
    assert study.distillation_of(find_method("alpha_0.9")) == Distillation(alpha=0.9, half_life=0.2)


def test_a_variant_is_its_base_but_for_its_changes():
    made = variant("slow", "dual_swapped", "slow one", {"elements": "random"}, {"half_life": 0.5})
    assert made.label == "slow one" and made.initializer == METHODS["dual_swapped"].initializer
    assert made.students == {"swap": True, "elements": "random"} and made.skd == {"half_life": 0.5}


def test_a_definition_makes_the_same_study_again():
    entry = {"name": "slow", "of": "dual_skd", "skd": {"half_life": 0.5}}
    study = make_study(**SAID | {"methods": ["weight_selection", entry]}, training={"steps": 7})
    assert make_study(**study.definition()) == study
    assert "threads" not in study.definition()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["weight_selection", "dual_sdk"]}, r"unknown method 'dual_sdk' \(did you mean 'dual_skd'\?\)"),
        ({"seeds": [1, 2, 1]}, "seeds has 1 twice"),
        ({"seeds": [0, 0]}, "seeds has 0 twice"),
        ({"seeds": 0}, "seeds is 0: pass 1 to 1000 seeds"),
        ({"seeds": [2**40]}, "seeds has 1099511627776: pass values from 0"),
        ({"training": {"steps": 2.5}}, "training: steps is 2.5: input should be a valid integer"),
        ({"training": {"steps": None}}, "training: steps is None"),
        ({"training": {"lr": float("inf")}}, "training: lr is inf: input should be a finite number"),
        ({"training": {"lr": "fast"}}, "training: lr is 'fast': input should be a valid number"),
        ({"distillation": {"alpha": float("nan")}}, "distillation: alpha is nan"),
        ({"device": "tpu"}, "device is 'tpu': input should be 'cpu', 'cuda' or 'mps'"),
        ({"tuning": {"lr": [0.1, -1]}}, "lr=-1.0 must be above 0"),
        (
            {"methods": ["weight_selection", {"name": "a", "of": "dual_skd", "students": {"seed": 5}}]},
            "students has 'seed', not one of auxiliary, swap",
        ),
        ({"seeds": [-1]}, "seeds has -1"),
        ({"fractions": [10]}, r"fractions has 10.0, which is not in \(0, 1\]: write 0.1 for 10 %"),
        ({"fractions": [0.0]}, "fractions has 0.0"),
        ({"training": {"steps": 0}}, "steps=0 must be above 0"),
        ({"training": {"stepps": 3}}, r"training has an unknown key 'stepps' \(did you mean 'steps'\?\)"),
        ({"training": {"seed": 3}}, "training has an unknown key 'seed'"),
        ({"distillation": {"alpha": 2}}, "alpha=2.0 is out of range"),
        ({"reference": "default"}, "reference='default' is none of the methods"),
        ({"methods": ["weight_selection", "native"]}, "method 'native' needs native_weights='file.safetensors'"),
        ({"methods": ["weight_selection", "weight_selection"]}, "method 'weight_selection' is there twice"),
        ({"methods": ["weight_selection", {"name": "dual", "of": "dual_skd"}]}, "method 'dual' is there twice"),
        ({"methods": []}, "methods"),
        ({"data": ["x/a", "y/a"]}, "with one name twice"),
        ({"fraction": [0.1]}, r"fraction is no key of a study \(did you mean 'fractions'\?\)"),
        ({"name": "../up"}, "name is '../up': use letters"),
        ({"tuning": {"steps": [1, 2]}}, "tuning has 'steps': lr and weight_decay can be tuned"),
        ({"tuning": {"lr": [0.1]}}, "at least two values"),
        ({"size": 0}, "size is 0"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_way_out(changes, message):
    with pytest.raises(ValueError, match=message):
        make_study(**SAID | changes)


def test_files_that_are_no_study(tmp_path):
    with pytest.raises(ValueError, match=r"unknown study 'lectur' \(did you mean 'lecture'\?\)"):
        read_study("lectur")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_study(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    for text, message in (
        ("a: [1", "this is no YAML"),
        ("- 1", "holds"),
        ("!!python/object/apply:os.system ['true']", "for the tag"),
        ("seeds: 2\nseeds: 3", "line 2: .*'seeds' is written twice"),
    ):
        bad.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_study(bad)


def test_the_budget_is_what_must_be_equal():
    same = budget(Training(steps=5, lr=1e-3, seed=1), 64), budget(Training(steps=5, lr=1e-4, seed=2), 64)
    assert same[0] == same[1] == "steps 5, batch_size 32, evaluations 10, 64 px"
    assert budget(Training(steps=6), 64) != same[0] != budget(Training(steps=5), 32)


def test_numbers_are_read_as_numbers():
    """YAML 1.1 takes 5e-4 for a text, and 1 for a whole number."""
    study = make_study(**SAID, training={"lr": "5e-4", "weight_decay": 1, "steps": 10})
    assert study.training_of(0) == Training(lr=5e-4, weight_decay=1.0, steps=10)
    assert isinstance(study.training_of(0).weight_decay, float)
