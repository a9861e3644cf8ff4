"""dmws-lite: dual-model weight selection and self-knowledge distillation, to learn, teach and experiment with.

The names below are the public ones; each is imported when it is first used, so that `import dmws_lite` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "method.selection": ("plan", "complementary_plans"),
    "method.plan": ("SelectionPlan", "load_plan"),
    "method.networks": ("build", "load_teacher", "fold_scales", "input_statistics"),
    "method.initializers": ("INITIALIZERS", "initialize"),
    "method.students": ("Students", "make_students"),
    "method.distillation": ("Distillation",),
    "data.phantoms": ("phantoms",),
    "data.sets": ("ImageSet", "Splits", "fraction"),
    "data.opening": ("open_data",),
    "data.checking": ("check",),
    "data.cards": ("read_card",),
    "training.settings": ("Training",),
    "training.fit": ("fit",),
    "training.evaluation": ("predict", "evaluate", "confusion"),
    "training.export": ("load_student",),
    "studies.methods": ("METHODS",),
    "studies.study": ("make_study", "read_study"),
    "studies.engines": ("run_study",),
    "studies.scales": ("scale",),
    "studies.store": ("Store",),
    "runtime.report": ("announce",),
    "views.interactive": ("explore_elements", "explore_coverage", "explore_flow"),
    "views.interactive_data": ("explore_costs", "explore_runs", "explore_features", "explore_ridge", "explore_slices"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = {"figures": "views.figures", "widgets": "views.widgets"}

__all__ = [*_HOME_OF, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"dmws_lite.{_MODULES[name]}")
    if name in _HOME_OF:
        return getattr(import_module(f"dmws_lite.{_HOME_OF[name]}"), name)
    raise AttributeError(f"dmws_lite has no {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
