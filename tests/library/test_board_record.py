"""What boards of other sections foretell of a method, beside what the section itself tells."""

import numpy as np
import pytest

from msibench.advice.expected import Expected
from msibench.library.board_record import PART_OF_BOARDS, with_boards
from msibench.library.similar_boards import board_skills

NETWORKS = {"net"}
BOARD = {"a": 0.1, "b": 0.2, "c": 0.2, "net": 0.4}


def told(**skills):
    return {
        name: Expected(
            skill=np.atleast_1d(np.asarray(skill, float)),
            signal_gain=2 * np.atleast_1d(np.asarray(skill, float)),
            one_scale_up=np.zeros(1),
        )
        for name, skill in skills.items()
    }


def test_a_section_that_stands_as_boards_do_is_left_as_it_is():
    found = with_boards(told(a=0.05, b=0.1, c=0.1, net=0.2), [BOARD], NETWORKS)
    assert [one.skill[0] for one in found.values()] == pytest.approx([0.05, 0.1, 0.1, 0.2])
    assert found["net"].signal_gain[0] == pytest.approx(0.4)


def test_a_network_that_does_worse_one_scale_up_than_on_boards_is_told_more():
    found = with_boards(told(a=0.05, b=0.1, c=0.1, net=0.1), [BOARD], NETWORKS)
    part = PART_OF_BOARDS["network"]
    assert found["net"].skill[0] == pytest.approx((1 - part) * 0.1 + part * 0.2)
    assert found["net"].signal_gain[0] == pytest.approx(2 * found["net"].skill[0])
    assert found["b"].skill[0] == pytest.approx(0.1)


def test_boards_count_alike_whatever_their_level():
    larger = {name: 3 * skill for name, skill in BOARD.items()}
    once = with_boards(told(a=0.1, b=0.1, c=0.1, net=0.1), [BOARD], NETWORKS)
    both = with_boards(told(a=0.1, b=0.1, c=0.1, net=0.1), [BOARD, larger], NETWORKS)
    for name, one in once.items():
        np.testing.assert_allclose(both[name].skill, one.skill)


def test_ions_to_which_interpolation_adds_nothing_stay_as_they_were():
    given = told(a=[-0.2, 0.1], b=[-0.1, 0.2], c=[np.nan, 0.2], net=[0.05, 0.3])
    found = with_boards(given, [BOARD], NETWORKS)
    assert found["net"].skill[0] == 0.05
    assert found["net"].skill[1] != 0.3
    assert np.isnan(found["c"].skill[0])


@pytest.mark.parametrize(
    "records", [[], [{"a": 0.1, "net": 0.4}], [{"a": 0.1, "b": 0.2, "net": 0.4}]]
)
def test_with_too_little_in_common_the_section_alone_tells(records):
    given = told(a=0.1, b=0.3, c=0.1, net=0.0)
    assert with_boards(given, records, NETWORKS) == given


def test_a_method_on_no_board_keeps_what_is_told():
    found = with_boards(told(a=0.1, b=0.1, c=0.1, mine=0.7), [BOARD], {"mine"})
    assert found["mine"].skill[0] == 0.7
    assert found["a"].skill[0] != 0.1


def test_of_each_data_set_the_board_with_most_of_what_was_tried_counts():
    found = board_skills(4, {"bicubic", "wiener", "dctlsa-msi", "swinir-msi-tiny"})
    assert {"bladder", "laicpms-prostate", "lbae-mouse-brain"} <= set(found)
    assert all("bicubic" in skills for skills in found.values())
    assert "dctlsa-msi" in found["bladder"]
    assert board_skills(7, {"bicubic"}) == {}
