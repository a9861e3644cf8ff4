"""The course: exercises that are checked, and the build that makes every notebook from one source."""

from dmws_lite.course.answers import Open, Wrong
from dmws_lite.course.checks import Verdict, check

__all__ = ["Open", "Verdict", "Wrong", "check"]
