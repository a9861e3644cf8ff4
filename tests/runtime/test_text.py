import pytest

from dmws_lite.runtime.text import plain


@pytest.mark.parametrize(
    "odd", ["\x1b", "\x9b", "\n", "\r", "\t", "\x07", "\x7f", "\u202e", "\u2066", "\u200b", "\u2028", "\ud800"]
)
def test_what_acts_without_being_seen_is_replaced(odd):
    assert plain(f"lung{odd}[2J") == "lung�[2J"


def test_letters_of_all_scripts_and_wanted_lines_stay():
    text = "Ünï 肺 صدر 🫁 [bold] $x_1$ :lungs:"
    assert plain(text) == text
    assert plain("a\nb\x1b", keep="\n") == "a\nb�"
