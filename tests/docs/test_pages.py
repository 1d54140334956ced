"""README and docs/: short enough, every link leads somewhere, every document that is named is there."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from typer.testing import CliRunner

from handlers.cli.__main__ import app as cli
from tests.service import PROJECT

TOP = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted((PROJECT / "docs").glob("*.md"))]
MOST_LINES = 220
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_DOCUMENT = re.compile(r"(?<![\w/.*{-])((?:[\w.-]+/)*[\w-]+\.md)\b")


def headings(page: Path) -> list[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def dead_links(page: Path) -> list[str]:
    dead = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        path, _, fragment = link.partition("#")
        target = page if not path else page.parent / path
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (fragment and fragment not in map(anchor, headings(target))):
            dead.append(link)
    return dead


def test_the_readme_is_short() -> None:
    lines = (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set[Path](), {PROJECT / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        links = (page.parent / link.partition("#")[0] for link in _LINK.findall(page.read_text(encoding="utf-8")))
        new |= {link.resolve() for link in links if link.suffix == ".md" and link.is_file()} - reached
    assert reached >= set(PAGES)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One heading\n[a](#one-heading) [b](#another) [c](page.md) [d](none.md) [e](https://there.example)\n"
    )
    assert dead_links(page) == ["#another", "none.md"]


def test_every_document_that_any_file_names_is_in_the_repository() -> None:
    missing = {
        f"{file.relative_to(PROJECT)}: {named}"
        for file in sources()
        for named in _DOCUMENT.findall(file.read_text(encoding="utf-8").replace('" / "', "/"))
        if not any((folder / named).is_file() for folder in (PROJECT, file.parent))
    }
    assert missing == set()


def test_rules_are_cited_by_the_page_that_has_them() -> None:
    pattern = re.compile(r"\bsemantics,? (?:rule|section)", re.IGNORECASE)
    assert [file for file in sources() if pattern.search(file.read_text(encoding="utf-8"))] == []


def sources() -> list[Path]:
    """The text files of the project, but for this one, which names what is not there."""
    tops = [path for path in PROJECT.iterdir() if not path.name.startswith(".")]
    files = [file for top in tops for file in (top.rglob("*") if top.is_dir() else [top])]
    known = {".py", ".md", ".yml", ".yaml", ".toml", ".sql", ".html", ".js", ".css", ".mako", ".conf", ""}
    return [file for file in files if file.suffix in known and file.is_file() and file != Path(__file__)]


def alerts() -> dict[str, str]:
    """The severity of each alert."""
    groups: list[dict[str, Any]] = yaml.safe_load((PROJECT / "ops/prometheus/rules.yml").read_text())["groups"]
    return {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_its_heading_and_every_such_heading_its_alert() -> None:
    text = (PROJECT / "docs/operations.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (OrderService\w+)\n\n\*(\w+)\*", text, re.MULTILINE)
    assert dict(sections) == alerts()
    assert len(sections) == text.count("\n### OrderService")


def test_every_rule_and_invariant_that_is_cited_is_written_down() -> None:
    text = (PROJECT / "docs/state-machine.md").read_text(encoding="utf-8")
    assert re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE) == [str(number) for number in range(1, 17)]
    assert re.findall(r"^- \*\*(I\d+)\*\*", text, re.MULTILINE) == [f"I{number}" for number in range(1, 19)]
    cited = set()
    for file in sources():
        if file.suffix == ".py":
            cited |= set(re.findall(r"\bI[1-9]\d?\b", file.read_text(encoding="utf-8")))
    assert cited <= {f"I{number}" for number in range(1, 19)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_command_line_that_a_page_has_is_one(page: Path) -> None:
    values = {"ORDER_ID": str(uuid4()), "ID": str(uuid4()), "WHY": "said so"}
    for line in re.findall(r"python -m handlers\.cli ([a-z][^`#\n]*)", page.read_text(encoding="utf-8")):
        words = [values.get(word, word) for word in line.split()]
        done = CliRunner().invoke(cli, [*words, "--help"])
        assert done.exit_code == 0, f"{line}: {done.output}"
