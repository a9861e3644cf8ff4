"""Answers to every exercise: a module per chapter, with tables that test_exercises.py goes through.

GIVEN:   what the notebook gives to an exercise's check; "00.1 overlap" are other conditions of exercise 00.1.
RIGHT:   right answers; a tuple where the exercise asks for several.
MESSAGE: a part of what is said to the first right answer.
WRONG:   rows of the answer, or answers, and a part of what is said.
SECRETS: what no message to a wrong answer may give away.
"""
