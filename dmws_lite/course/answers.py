"""Reading what a learner gave as an answer: whatever comes in, it is understood, or said to be no answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
MOST = 100_000  # elements of a collection that are read, and the largest answer of `smallest`
ELEMENTS = {float: "numbers", int: "whole numbers", bool: "truth values"}
PLAIN = {bool: "the truth value {}", str: "the text {!r}", int: "the number {}", float: "the number {}"}


class Wrong(Exception):
    """An answer is wrong, and in which way; raised by an exercise's check."""


class Open(Exception):
    """There is no answer yet: the stub was left as it is."""


def number(answer: Any, low: float | None = None, high: float | None = None) -> float:
    """The answer as a float: Python's and numpy's numbers, and arrays or tensors of one element.

    low, high: what the question itself says about the range; both ends belong to it.
    Raises Open for None and `...`; Wrong for anything that is no finite number, or lies outside the range.

    >>> number(0.25, low=0, high=1)
    0.25
    """
    value = _float(answer)
    if low == 0 and high == 1 and 1 < value <= 100:
        raise Wrong(f"{value:g} looks like a percentage: a share lies between 0 and 1")
    if (low is not None and value < low) or (high is not None and value > high):
        limits = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
        raise Wrong(f"{value:g} cannot be: the answer is {' and '.join(filter(None, limits))}")
    return value


def close(answer: Any, expected: float, relative: float = 0.01, absolute: float = 0.0) -> float:
    """The answer as a float, if it differs from `expected` by at most max(relative · |expected|, absolute).

    Raises Open and Wrong as `number` does; Wrong says "too small", "too large", or that it looks like a percentage.

    >>> close(0.3333, 1 / 3)
    0.3333
    """
    value = number(answer)

    def near(target: float) -> bool:
        return math.isclose(value, target, rel_tol=relative, abs_tol=absolute)

    if near(expected):
        return value
    if abs(expected) <= 1 and expected and math.isclose(value / 100, expected, rel_tol=relative, abs_tol=absolute):
        raise Wrong(f"{value:g} looks like a percentage: give the share itself")
    if expected and near(-expected):
        raise Wrong(f"{value:g} has the wrong sign")
    raise Wrong(f"{value:g} is too {'small' if value < expected else 'large'}")


def compared(
    answer: Any,
    expected: float,
    mistakes: Mapping[float, str],
    name: str = "",
    relative: float = 0.01,
    absolute: float = 0.0,
) -> float:
    """As `close`, with what a known wrong value comes from, and the answer's name where there are several.

    mistakes: by value, what to say of it; one that is as near as `expected` is no mistake.
    Raises Open and Wrong as `close` does.

    >>> compared(0.5, 0.5, {2: "this is its inverse"}, "share")
    0.5
    """
    try:
        return close(answer, expected, relative, absolute)
    except Wrong as error:
        known = (text for value, text in mistakes.items() if _is_close(answer, value, relative, absolute))
        reason = next(known, str(error))
        raise Wrong(f"{name}: {reason}" if name else reason) from None


def smallest(
    answer: Any, enough: Callable[[int], bool], too_few: Callable[[int], str], low: int = 1, name: str = ""
) -> int:
    """The answer as an int, if it is the smallest whole number from `low` on that is enough.

    enough:  whether a number is; if it is, all larger ones are.
    too_few: what to say of a number that is not.
    Raises Open and Wrong as `number` does; Wrong for a number with a fraction, one too small and one too large.

    >>> smallest(4, lambda n: n * n > 10, lambda n: f"{n} squared is {n * n}")
    4
    """
    value, lead = number(answer, low, MOST), f"{name}: " if name else ""
    if value != int(value):
        raise Wrong(f"{lead}{value:g} cannot be: a whole number is asked for")
    if not enough(int(value)):
        raise Wrong(lead + too_few(int(value)))
    if value > low and enough(int(value) - 1):
        raise Wrong(f"{lead}{value:g} are enough, but fewer would do")
    return int(value)


def array(
    answer: Any, shape: tuple[int | None, ...] = (None,), of: type = float, name: str = "your answer"
) -> np.ndarray:
    """The answer as an array: from lists, tuples, sets (rising), ranges, numpy arrays, tensors, tables.

    shape: what it must have; None is any length but 0.
    of:    float, int (whole numbers, also such as 3.0) or bool (also 0 and 1).
    name:  what it is called in a message.
    Returns float64, int64 or bool. Raises Open and Wrong, also for values that are not finite.

    >>> array({8.0, 2.0}, of=int), array([[1, 0]], (1, None), of=bool)
    (array([2, 8]), array([[ True, False]]))
    """
    if not _given(answer) or unanswered(answer):
        raise Open
    try:
        found = np.asarray(_plain(answer))
        found = np.asarray(_plain(found.tolist())) if found.dtype.kind == "O" else found
        wanted = tuple(found.shape[axis] if n is None else n for axis, n in enumerate(shape))
        fits = found.dtype.kind in ("biuf" if of is bool else "iuf") and found.size and found.shape == wanted
    except Exception:
        fits = False
    if not fits:
        raise Wrong(f"{name}: {kind(answer)}, where {_asked(shape, of)} is asked for")
    if not np.isfinite(found).all():
        raise Wrong(f"{name} holds values that are no finite numbers")
    with np.errstate(invalid="ignore"):
        read: np.ndarray = found.astype(of)
    if of is not float and not np.array_equal(read, found):
        raise Wrong(f"{name}: {kind(answer)} with other values than {ELEMENTS[of]}")
    return read


def names(answer: Any, options: Sequence[str]) -> set[str]:
    """The options that a collection of texts names; each is read as `choice` reads it.

    Raises Open for None and `...`; Wrong for what is no collection, an empty one, and a name that is no option.

    >>> names(["EMA"], ["ema", "kd"])
    {'ema'}
    """
    if not _given(answer):
        raise Open
    if isinstance(answer, str | bytes | Mapping) or not isinstance(answer, Iterable):
        raise Wrong(f"{kind(answer)} is no list of names: write them as ['...', '...']")
    try:
        given = list(islice(answer, MOST))
    except Exception:
        raise Wrong(f"{kind(answer)} is no list of names") from None
    if not given:
        raise Wrong("an empty list names nothing")
    return {choice(name, options) for name in given}


def called(function: Any, *arguments: Any) -> Any:
    """What the learner's function returns for `arguments`.

    Raises Open when it returns None or `...`, as the stub does; Wrong when it is no function, or raises an error.

    >>> called(max, 2, 3)
    3
    """
    if not _given(function):
        raise Open
    if not callable(function):
        raise Wrong(f"{kind(function)} is no function: give the function's name, without brackets")
    try:
        result = function(*arguments)
    except Exception as error:
        raise Wrong(f"your function raised {type(error).__name__}: {str(error)[:200]}") from error
    if not _given(result):
        raise Open("Your function returns nothing yet.")
    return result


def choice(answer: Any, options: Sequence[T]) -> T:
    """The option that the answer names; texts are compared without regard to case and spaces around them.

    Raises Open for None and `...`; Wrong for anything else that is no option.

    >>> choice(" Main", ["main", "auxiliary"])
    'main'
    """
    if not _given(answer):
        raise Open
    for option in options:
        if _same(answer, option):
            return option
    raise Wrong(f"{kind(answer)} is none of the options: choose from {', '.join(map(repr, options))}")


def kind(answer: Any) -> str:
    """An answer in a few words that are safe to show: a number or text as it is, of anything else the type and size.

    >>> kind("0.25"), kind([1, 2])
    ("the text '0.25'", 'a list of 2')
    """
    if answer is None:
        return "nothing"
    words = PLAIN.get(type(answer))
    if words:
        return words.format(_short(answer))
    name = type(answer).__name__
    article = "an" if name[0].lower() in "aeiou" or name == "ndarray" else "a"
    shape = _shape(answer)
    if shape == () and hasattr(answer, "item"):
        return kind(answer.item())
    if shape is not None:
        return f"{article} {name} of shape {shape}"
    sized = isinstance(answer, list | tuple | set | dict)
    return f"{article} {name} of {len(answer)}" if sized else f"{article} {name}"


def unanswered(answer: Any) -> bool:
    """Whether the three dots of the stub are still there, in the answer or in a list or dict of answers."""
    if isinstance(answer, Mapping):
        return any(map(unanswered, answer.values()))
    return any(map(unanswered, answer)) if isinstance(answer, list | tuple) else answer is ...


def _float(answer: Any) -> float:
    if not _given(answer):
        raise Open
    if isinstance(answer, str):
        raise Wrong(f"{kind(answer)} is no number: write it without quotation marks")
    if callable(answer) and not hasattr(answer, "__float__"):
        raise Wrong(f"{kind(answer)} is no number: call it, and give what it returns")
    try:
        value = answer.item() if hasattr(answer, "item") else answer
        value = math.nan if isinstance(value, bool | complex | str) else float(value)
    except OverflowError:
        raise Wrong("this number is far too large") from None
    except Exception:
        raise Wrong(f"{kind(answer)} is no number") from None
    if not math.isfinite(value):
        raise Wrong(f"{kind(answer)} is no number that one could compare: a finite number is asked for")
    return value


def _plain(answer: Any) -> Any:
    """Tensors without their gradient, and collections that numpy does not read, as lists; also inside of others."""
    if hasattr(answer, "detach"):
        return answer.detach().cpu().numpy()
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes | Mapping) or hasattr(answer, "__array__"):
        return answer
    values = islice(sorted(answer) if isinstance(answer, set | frozenset) else answer, MOST)
    return [_plain(value) for value in values]


def _asked(shape: tuple[int | None, ...], of: type) -> str:
    if len(shape) == 1:
        return f"a list or an array of {'' if shape[0] is None else f'{shape[0]} '}{ELEMENTS[of]}"
    return f"an array of {ELEMENTS[of]} of shape {shape}"


def _shape(answer: Any) -> tuple[int, ...] | None:
    try:
        return tuple(answer.shape)
    except Exception:
        return None


def _is_close(answer: Any, value: float, relative: float, absolute: float) -> bool:
    try:
        return close(answer, value, relative, absolute) is not None
    except Wrong:
        return False


def _given(answer: Any) -> bool:
    return answer is not None and answer is not ...


def _same(answer: Any, option: Any) -> bool:
    if isinstance(answer, str) and isinstance(option, str):
        return answer.strip().lower() == option.strip().lower()
    value = answer.item() if hasattr(answer, "dtype") and getattr(answer, "shape", None) == () else answer
    return type(value) is type(option) and value == option


def _short(answer: Any) -> Any:
    if isinstance(answer, str):
        return answer if len(answer) <= 40 else answer[:40] + "…"
    if isinstance(answer, float):
        return f"{answer:g}"
    return answer if abs(answer) < 10**15 else "of many digits"
