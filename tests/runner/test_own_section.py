"""A user's own sections: which of them were cut from one specimen."""

import pytest

from msibench.errors import ConfigurationError
from msibench.runner.own_section import specimens_of

SECTIONS = ("m1_left", "m1_right", "m2_left", "lone")


def test_sections_are_named_or_matched_and_a_specimen_adds_up():
    stated = ("mouse-1=m1_*", "mouse-2 = m2_left", "mouse-2=lone, m2_left")
    assert specimens_of(stated, SECTIONS) == {
        "mouse-1": ("m1_left", "m1_right"),
        "mouse-2": ("m2_left", "lone"),
    }
    assert specimens_of((), SECTIONS) == {}
    assert specimens_of(("mouse-3=m3[a]",), ["m3[a]", "m3a"]) == {"mouse-3": ("m3[a]",)}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (("mouse-1",), "NAME=SECTION,SECTION .*, got 'mouse-1'"),
        (("mouse-1= ,",), "NAME=SECTION,SECTION"),
        (("=lone",), "specimen"),
        (("../up=lone",), "specimen"),
        (("mouse=m3_*",), "no section is called 'm3_\\*'; there are m1_left"),
        (("a=m1_*", "b=m1_left"), "'m1_left' is of a and of b"),
        (("lone=m1_*",), "lone is also the name of a section"),
    ],
)
def test_what_makes_no_specimens_is_refused(stated, message):
    with pytest.raises(ConfigurationError, match=message):
        specimens_of(stated, SECTIONS)
