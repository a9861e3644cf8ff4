"""Text from outside (names of files and classes, cards, errors), made safe to show and to name files by."""

import unicodedata

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, half characters, ends of lines and paragraphs
LONGEST = 100  # characters of a file's name, and twice as many bytes: room for an ending and a temporary name


def plain(text: str, keep: str = "") -> str:
    r"""Text with "�" for what is not seen but acts: escape sequences, line ends, reversed writing.

    keep: characters that stay as they are, such as "\n" where lines are wanted.

    >>> plain("lung\x1b[2J\n")
    'lung�[2J�'
    """
    return "".join("�" if unicodedata.category(c) in UNSEEN and c not in keep else c for c in text)


def file_name(text: str) -> str:
    """Text that can name a file, without its ending: plain, no slashes, cut to LONGEST characters.

    >>> file_name("check_a/b")
    'check_a_b'
    """
    return plain(text).replace("/", "_")[:LONGEST].encode()[: 2 * LONGEST].decode(errors="ignore")
