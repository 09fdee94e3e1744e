"""Value classes: what `isa.frozen` gives a class."""

from dataclasses import field, replace

import pytest

from attnc.isa.frozen import frozen


@frozen
class Point:
    """Two numbers and a note that tells nothing apart."""

    x: int
    y: int = 0
    note: str = field(default="", compare=False, repr=False)


@frozen(eq=False)
class Place:
    """Something that is itself alone."""

    name: str


@frozen
class Empty:
    """Nothing."""


def test_equal_fields_are_equal_values_with_one_hash() -> None:
    assert Point(1, 2) == Point(1, 2, "there") != Point(1, 3)
    assert len({Point(1, 2), replace(Point(1), y=2), Point(2, 1)}) == 2
    assert Empty() == Empty() != Point(0)
    assert {Empty(), Empty()} == {Empty()}


def test_classes_are_told_apart() -> None:
    @frozen
    class Other:
        x: int
        y: int

    assert Other(1, 2) != Point(1, 2)


def test_identity_where_equality_is_not_asked_for() -> None:
    place = Place("here")
    assert place == place != Place("here")


def test_text_shows_the_fields() -> None:
    assert repr(Point(1, 2, "hidden")) == "Point(x=1, y=2)"


def test_a_subclass_takes_its_bases_fields_first() -> None:
    @frozen
    class Deep(Place):
        depth: int = 1

    assert repr(Deep("here", depth=2)).endswith("Deep(name='here', depth=2)")
    assert Deep("here") == Deep("here", 1)


@pytest.mark.parametrize("given", [{}, {"name": "a", "other": 1}])
def test_what_does_not_name_the_fields_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Place\.__init__\(\)"):
        Place(**given)  # pyright: ignore[reportArgumentType]


def test_fields_without_a_default_stand_first() -> None:
    with pytest.raises(TypeError, match="without a default"):

        @frozen
        class Wrong:
            x: int = 0
            y: int  # pyright: ignore[reportGeneralTypeIssues]
