"""Fixtures that the tests of services share."""

from __future__ import annotations

import pytest

from src.services import cases


@pytest.fixture
def audio(db, make_audio):
    """A recording in a case of alice; its content is not audio."""
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Speech")
        audio = make_audio(session, case)
        audio.case = case
        return audio
