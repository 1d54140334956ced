"""What is shown of the table is the table."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from models.states import Position
from saga.insight import diagram
from saga.insight import diagram_svg as picture
from saga.transitions import Signal

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def svg() -> ET.Element:
    return ET.fromstring(diagram.svg())


@pytest.mark.parametrize(("page", "part"), diagram.parts(), ids=lambda word: getattr(word, "name", word))
def test_the_documents_have_what_the_table_says(page: Path, part: str) -> None:
    text = page.read_text(encoding="utf-8")
    assert diagram.between_markers(text, part, diagram.parts()[page, part]) == text, "run `make contract`"


def test_the_picture_is_what_the_table_says() -> None:
    assert diagram.PICTURE.read_text(encoding="utf-8") == diagram.svg(), "run `make contract`"


def test_markers_that_are_missing_are_said(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="rows:begin"):
        diagram.between_markers("# no markers", "rows", "")


def test_every_position_and_every_signal_has_a_line() -> None:
    rows, matrix = diagram.markdown_rows().splitlines(), diagram.markdown_matrix().splitlines()
    for position in Position:
        assert len([line for line in rows if line.startswith(f"| **{diagram.name(position)}** |")]) == 1
    for signal in Signal:
        (line,) = (line for line in matrix if line.startswith(f"| {signal} |"))
        assert line.count("|") == len(Position) + 2


def test_a_markdown_line_has_as_many_cells_as_the_head() -> None:
    head, _, *lines = diagram.markdown_rows().splitlines()
    assert {line.count("|") for line in lines} == {head.count("|")}


def test_every_position_and_every_way_has_an_element_of_its_own(svg: ET.Element) -> None:
    ids = [group.get("id", "") for group in svg.iter(f"{SVG}g")]
    expected = {f"position-{diagram.name(position)}" for position in Position}
    expected |= {f"edge-{diagram.name(here)}-{diagram.name(to)}" for here, to in diagram.edges()}
    assert sorted(ids) == sorted(expected)


def test_whoever_cannot_see_the_picture_is_told(svg: ET.Element) -> None:
    assert svg.get("role") == "img"
    titles = {title.get("id"): title.text for title in svg.iter(f"{SVG}title")}
    assert titles["saga-diagram-title"]
    assert all(group.find(f"{SVG}title") is not None for group in svg.iter(f"{SVG}g"))


def test_a_way_without_a_place_in_the_picture_is_found() -> None:
    with pytest.raises(LookupError, match="lay out"):
        picture.draw({(Position.COMPLETED, Position.VALIDATING): ["a miracle"]})


def test_mermaid_has_every_way() -> None:
    lines = diagram.mermaid().splitlines()
    for here, to in diagram.edges():
        assert any(line.startswith(f"  {here.name} --> {to.name} : ") for line in lines)
