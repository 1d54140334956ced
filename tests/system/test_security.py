"""SECURITY.md: what it names is there."""

import re

from tests.service import PROJECT

NAMED = re.compile(r"`([\w./-]+\.(?:py|txt|yaml))`")


def test_every_file_that_it_names_is_there() -> None:
    named = set(NAMED.findall((PROJECT / "SECURITY.md").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (PROJECT / name).is_file()] == []


def test_every_threat_is_tested_somewhere() -> None:
    table = (PROJECT / "SECURITY.md").read_text(encoding="utf-8").partition("| threat |")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:] if line.startswith("|")]
    assert len([row for row in rows if row[0].strip().startswith("API")]) == 10
    assert [row[0] for row in rows if not NAMED.search(row[-1])] == []
