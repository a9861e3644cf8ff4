"""The course: its exercises and their checks, and the map of its chapters."""

from dmws_lite.course.answers import Open, Wrong
from dmws_lite.course.checks import Verdict, check

__all__ = ["Open", "Verdict", "Wrong", "check"]
