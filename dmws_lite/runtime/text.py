"""Text from outside (names of files and classes, cards, errors), made safe to show."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, half characters, ends of lines and paragraphs


def plain(text: str, keep: str = "") -> str:
    r"""Text with "�" in place of invisible control characters: escape sequences, line ends, reversed writing.

    keep: characters that stay as they are, such as "\n" where lines are wanted.

    >>> plain("lung\x1b[2J\n")
    'lung�[2J�'
    """
    return "".join("�" if unicodedata.category(c) in INVISIBLE and c not in keep else c for c in text)


def did_you_mean(name: object, options: Iterable[str]) -> str:
    """The closest option, as a question in brackets; nothing when none is close."""
    close = difflib.get_close_matches(str(name), list(options), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def require(kind: str, name: object, options: Iterable[object]) -> None:
    """Raise ValueError for a name that is none of the options, with the closest one and all there are."""
    if name not in (known := list(options)):
        names = [*map(str, known)]
        raise ValueError(f"unknown {kind} {name!r}{did_you_mean(name, names)}: choose from {', '.join(names)}")


def shorten(value: object) -> str:
    """A value as text, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def examples(names: Iterable[str]) -> str:
    """The first five of some names."""
    names = [*names]
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def tally(names: Iterable[str]) -> str:
    """How often each name is there, the most frequent first, as "2 b, 1 a"; the first five of more than six."""
    counts = Counter(sorted(names)).most_common()
    if len(counts) > 6:
        counts = [*counts[:5], ("others", sum(count for _, count in counts[5:]))]
    return ", ".join(f"{count} {name}" for name, count in counts)


def escape_markdown(text: str) -> str:
    r"""Text in which Markdown finds no table, HTML, link, emphasis, code or formula.

    >>> print(escape_markdown("a|b <i> [x](y) 0.5 [0.4, 0.6]"))
    a\|b &lt;i&gt; [x\](y) 0.5 [0.4, 0.6]
    """
    text = plain(text.replace("\n", " ")).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*|$~#]|\](?=[(\[:])|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def require_seed(seed: int) -> int:
    """The seed. Raises ValueError where it is negative, which numpy refuses without naming it."""
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative: pass 0, 1, 2, ...")
    return seed
