"""Reading a learner's answer, and comparing it with the right one and with what known mistakes give.

A reader raises Open for None and `...`, and Wrong, which quotes the answer, where it cannot read it.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

MOST = 100_000  # elements of a collection that are read, and the largest answer of `smallest`
ELEMENTS = {float: "numbers", int: "whole numbers", bool: "truth values"}
PLAIN = {bool: "the truth value", str: "the text", int: "the number", float: "the number"}


class Wrong(Exception):
    """An answer is wrong; `reason` is a sentence, or the name of one of the exercise's texts, which `fields` complete.

    case: which of several answers it is about.
    """

    def __init__(self, reason: str, case: str = "", **fields: Any) -> None:
        super().__init__(f"{case}: {reason}" if case else reason)
        self.reason, self.case, self.fields = reason, case, fields


class Open(Exception):
    """There is no answer yet: the stub was left as it is."""


def reject(fault: object, reason: str, case: str = "", **fields: Any) -> None:
    """Raise Wrong where an answer has this fault."""
    if fault:
        raise Wrong(reason, case, **fields)


def number(answer: Any, low: float = -math.inf, high: float = math.inf, case: str = "") -> float:
    """The answer as a finite float from `low` to `high`; also from arrays, tensors and tables of one element."""
    _require_answer(answer)
    plain = _to_plain(answer)
    value = np.asarray(plain).item() if math.prod(getattr(plain, "shape", (0,))) == 1 else plain
    real = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    hint = "write it without quotation marks and units" if isinstance(answer, str) else "give a finite number"
    reject(not real, f"{describe(answer)} is no number: {hint}", case)
    reject(not low <= value <= high, f"{value:g} cannot be: the answer is from {low:g} to {high:g}", case)
    return float(value)


def compare(
    answer: Any,
    right: Any,
    case: str = "",
    relative: float = 0.01,
    absolute: float = 0.0,
    otherwise: str = "",
    fields: Mapping[str, Any] | None = None,
    **mistakes: Any,
) -> Any:
    """The answer, a number or an array, if it differs from `right` by at most the tolerance.

    otherwise: the name of what to say where no known mistake fits; "": whether it is too small or too large.
    mistakes:  what known mistakes give, by the names of the exercise's texts, which `fields` complete.
    """
    value = array(answer, np.shape(right), case=case or "your answer") if np.shape(right) else number(answer, case=case)

    def near(target: Any, scale: float = 1) -> bool:
        return np.allclose(value / scale, target, rtol=relative, atol=absolute)

    if near(right):
        return value
    if reason := next((name for name, target in mistakes.items() if near(target)), otherwise):
        raise Wrong(reason, case, **(fields or {}))
    if isinstance(value, np.ndarray):
        close = np.isclose(value, right, rtol=relative, atol=absolute)
        raise Wrong(f"{np.sum(~close)} of {close.size} are wrong", case)
    percentage = 0 < abs(right) <= 1 and near(right, 100)
    reject(percentage, f"{value:g} looks like a percentage: give the share itself", case)
    reject(right != 0 and near(-right), f"{value:g} has the wrong sign", case)
    raise Wrong(f"{value:g} is too {'small' if value < right else 'large'}", case)


def smallest(
    answer: Any, measure: Callable[[int], float], limit: float, low: int = 1, case: str = "", too_few: str = "too_few"
) -> int:
    """The answer, if it is the smallest whole number from `low` on whose measure, which falls, is at most `limit`.

    too_few: the name of what to say of a number that is too small; n and measure complete it.
    """
    value = number(answer, low, MOST, case)
    n = int(value)
    reject(value != n, f"{value:g} cannot be: a whole number is asked for", case)
    reject(measure(n) > limit, too_few, case, n=n, measure=measure(n))
    reject(n > low and measure(n - 1) <= limit, f"{n} are enough, but fewer would do", case)
    return n


def array(
    answer: Any, shape: tuple[int | None, ...] = (None,), of: type = float, case: str = "your answer"
) -> np.ndarray:
    """The answer as an array of float, int or bool: from collections, arrays, tensors, tables; of int also from sets.

    shape: what it must have; None is any length but 0.
    """
    if answer is None or unanswered(answer):
        raise Open
    unordered = isinstance(answer, set | frozenset) and of is not int
    reject(unordered, f"{describe(answer)} has no order: give a list or an array", case)
    values = np.asarray(_to_plain(answer))
    values = np.asarray(_to_plain(values.tolist())) if values.dtype.kind == "O" else values
    expected = tuple(values.shape[axis] if n is None else n for axis, n in enumerate(shape[: values.ndim]))
    kinds = "biuf" if of is bool else "iuf"
    fits = values.dtype.kind in kinds and values.size and values.ndim == len(shape) and values.shape == expected
    wanted = f"a list or an array of {ELEMENTS[of]}" + (f" of shape {shape}" if shape != (None,) else "")
    reject(not fits, f"{describe(answer)}, where {wanted} is asked for", case)
    reject(not np.isfinite(values).all(), f"{describe(answer)} with values that are no finite numbers", case)
    converted: np.ndarray = values.astype(of)
    changed = of is not float and not np.array_equal(converted, values)
    reject(changed, f"{describe(answer)} with other values than {ELEMENTS[of]}", case)
    return converted


def names(answer: Any, options: Sequence[str]) -> set[str]:
    """The options that a collection of texts names; each is read as `choice` reads it."""
    _require_answer(answer)
    is_list = isinstance(answer, Iterable) and not isinstance(answer, str | bytes | Mapping)
    texts = list(islice(answer, MOST)) if is_list else []
    reject(not texts, f"{describe(answer)} is no list of names: write them as ['...', '...']")
    return {choice(text, options) for text in texts}


def call_function(function: Any, *arguments: Any) -> Any:
    """What the learner's function returns for `arguments`; Open when that is None or `...`, as from the stub."""
    _require_answer(function)
    reject(not callable(function), f"{describe(function)} is no function: give the function's name, without brackets")
    try:
        result = function(*arguments)
    except Exception as error:
        raise Wrong(f"your function raised {type(error).__name__}: {str(error)[:200]}") from error
    _require_answer(result, "Your function returns nothing yet.")
    return result


def choice(answer: Any, options: Sequence[str], case: str = "") -> str:
    """The option that the answer names, without regard to case, and to spaces, quotation marks and dots around it."""
    _require_answer(answer)
    is_text = isinstance(answer, str) or getattr(answer, "shape", None) == ()
    text = str(answer).strip(" \n'\".").lower() if is_text else None
    matches = [option for option in options if option.lower() == text]
    reject(not matches, f"{describe(answer)} is none of the options: choose from {', '.join(map(repr, options))}", case)
    return matches[0]


def describe(answer: Any) -> str:
    """An answer in a few words that are safe to show: a number or text as it is, of anything else the type and size."""
    shape = getattr(answer, "shape", None)
    if shape == ():
        return describe(answer.item())
    if type(answer) in PLAIN:
        return f"{PLAIN[type(answer)]} {reprlib.repr(answer)}"
    name = type(answer).__name__
    article = "an" if name[0].lower() in "aeiou" or name == "ndarray" else "a"
    size = f" of {len(answer)}" if isinstance(answer, list | tuple | set | dict) else ""
    return f"{article} {name}" + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else size)


def unanswered(answer: Any) -> bool:
    """Whether the three dots of the stub are still there, in the answer or in a list or dict of answers."""
    if isinstance(answer, Mapping):
        return any(map(unanswered, answer.values()))
    return any(map(unanswered, answer)) if isinstance(answer, list | tuple) else answer is ...


def _require_answer(answer: Any, message: str = "") -> None:
    if answer is None or answer is ...:
        raise Open(message)


def _to_plain(answer: Any) -> Any:
    """Tensors without their gradient, fractions, and collections as lists, where numpy does not read them."""
    if hasattr(answer, "detach"):
        return answer.detach().cpu().numpy()
    if isinstance(answer, Fraction | Decimal):
        return float(answer)
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes | Mapping) or hasattr(answer, "__array__"):
        return answer
    values = sorted(answer) if isinstance(answer, set | frozenset) else answer
    return [_to_plain(value) for value in islice(values, MOST)]
