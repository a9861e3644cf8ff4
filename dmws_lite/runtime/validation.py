"""Checked settings: YAML and pydantic models that refuse unknown or repeated keys, and errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dmws_lite.runtime.text import did_you_mean, shorten


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, nan and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            check_keys(value, cls.model_fields)
        return value


def check_keys(value: Iterable[str], keys: Iterable[str]) -> None:
    """Raise ValueError for the first key of `value` that is none of `keys`."""
    keys = list(keys)
    if unknown := [key for key in value if key not in keys]:
        hint = did_you_mean(unknown[0], keys)
        raise ValueError(f"has an unknown key {unknown[0]!r}{hint}: its keys are {', '.join(keys)}")


def faults(error: ValidationError) -> str:
    """What is wrong, each fault as the key, its value and what to do."""
    return "; ".join(map(_describe_fault, error.errors()))  # type: ignore[arg-type]


def _describe_fault(fault: dict[str, Any]) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{key} is missing: add it"
    if fault["type"] == "value_error":
        return f"{key} {fault['ctx']['error']}".strip()
    message = re.sub(r"^[A-Z][a-z]+ should", "it should", fault["msg"])
    hint = " (put it in quotes)" if fault["type"] == "string_type" else ""
    return f"{key} is {shorten(fault['input'])}: {message}{hint}"


class _Loader(yaml.SafeLoader):
    """Reads YAML that states values only, no key twice, and no value by reference, which could blow up."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="a value by reference (*)", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := [key for key, _ in node.value if keys.count(key.value) > 1]:
            problem, mark = f"{repeated[-1].value!r} is written twice", repeated[-1].start_mark
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, path: Path) -> Any:
    """The values that YAML states; ValueError names the file and the line of what is no YAML, or more than values."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(f"{path}{line}: this is no YAML that can be used ({problem}): correct it") from error
