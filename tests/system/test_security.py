"""SECURITY.md: what it names is there."""

import re

from tests.service import PROJECT

NAMED = re.compile(r"`([\w./-]+\.(?:py|txt|yaml))`")


def test_every_file_that_it_names_is_there() -> None:
    named = set(NAMED.findall((PROJECT / "SECURITY.md").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (PROJECT / name).is_file()] == []


def test_every_threat_is_tested_somewhere() -> None:
    rows = _rows("threat")
    assert len([row for row in rows if row[0].strip().startswith("API")]) == 10
    assert [row[0] for row in rows if not NAMED.search(row[-1])] == []


def test_what_is_met_of_the_asvs_names_its_test_and_what_is_not_says_why() -> None:
    rows = [[cell.strip() for cell in row] for row in _rows("items")]
    assert len(rows) > 30
    assert {row[2] for row in rows} <= {"met", "partly", "not met", "not met yet", "deployment's"}
    assert [row[0] for row in rows if row[2] in {"met", "partly"} and not NAMED.search(row[3])] == []
    assert [row[0] for row in rows if not row[3]] == []


def _rows(first: str) -> list[list[str]]:
    """The table whose first column is called so."""
    text = (PROJECT / "SECURITY.md").read_text(encoding="utf-8").partition(f"| {first} |")[2].partition("\n\n")[0]
    return [line.strip("|").split("|") for line in text.splitlines()[2:]]
