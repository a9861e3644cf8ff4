"""What every chapter's tests ask of a wrong answer."""

import pytest

from dmws_lite.course import check


@pytest.fixture
def refused():
    """Asserts that an answer is wrong, that the message says `part`, and that it gives none of the secrets away."""

    def assert_refused(exercise, *answers, part, secrets=(), **given):
        verdict = check(exercise, *answers, **given)
        assert verdict.state == "wrong", repr(verdict)
        assert part.lower() in verdict.message.lower()
        assert not [secret for secret in secrets if secret in verdict.message]

    return assert_refused
