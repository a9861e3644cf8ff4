"""One module per chapter; `exercise_2` of `chapter_03` is exercise "03.2"."""
