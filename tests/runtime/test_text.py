from dmws_lite.runtime.text import plain


def test_what_acts_without_being_seen_is_replaced_and_letters_of_all_scripts_stay():
    for odd in "\x1b\x9b\n\r\t\x07\x7f\u202e\u2066\u200b\u2028\ud800":
        assert plain(f"lung{odd}[2J") == "lung�[2J"
    text = "Ünï 肺 صدر 🫁 [bold] $x_1$ :lungs:"
    assert plain(text) == text and plain("a\nb\x1b", keep="\n") == "a\nb�"
