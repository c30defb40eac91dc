"""circuit.wire.status: Go's words for the end of a process."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit import Exit
from circuit.wire.status import parse_exit

SIGNALS = sorted(signal.valid_signals())


@pytest.mark.parametrize(
    ("text", "end", "returncode"),
    [
        ("exit status 0", Exit(status=0), 0),
        ("exit status 3", Exit(status=3), 3),
        ("exit status 255", Exit(status=255), 255),
        ("signal: killed", Exit(signal=9), 137),
        ("signal: terminated", Exit(signal=15), 143),
        ("signal: hangup", Exit(signal=1), 129),
        ("signal: segmentation fault", Exit(signal=11), 139),
        ("signal: segmentation fault (core dumped)", Exit(signal=11), 139),
        ("signal: signal 34", Exit(signal=34), 162),
        ("exec error: chdir /no: no such file or directory", Exit(error="chdir /no: no such file or directory"), 127),
        ("signal: of the times", Exit(error="signal: of the times"), 127),
        ("exit status x", Exit(error="exit status x"), 127),
        ("wait: no child processes", Exit(error="wait: no child processes"), 127),
        ("", Exit(error=""), 127),
    ],
)
def test_each_form_is_read(text: str, end: Exit, returncode: int) -> None:
    assert parse_exit(text) == end
    assert parse_exit(text).returncode == returncode


@given(
    st.one_of(
        st.integers(0, 255).map(lambda status: Exit(status=status)),
        st.sampled_from(SIGNALS).map(lambda number: Exit(signal=int(number))),
        st.text().map(lambda words: Exit(error=f"no such thing: {words}")),
    )
)
def test_an_exit_survives_its_words(end: Exit) -> None:
    assert parse_exit(str(end)) == end


@given(st.text())
def test_any_words_have_a_status_that_is_no_success(words: str) -> None:
    assert parse_exit(words).returncode == 127
