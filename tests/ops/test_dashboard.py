"""The dashboard, and that what it and the rules ask for is there to be answered."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import dashboard
from ops.panels import ROWS, Panel
from tests.ops.exposition import exposed
from tests.ops.names import OF_EVERY_ALERT, OF_EVERY_TARGET, labels_of, metrics_of
from tests.ops.programs import OPS, promtool

PANELS = [panel for panels in ROWS.values() for panel in panels]
RULES: list[dict[str, Any]] = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
ASKED = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES} | {
    f"{panel.title}: {name}": expression for panel in PANELS for name, expression in panel.asks.items()
}
KNOWN = exposed() | {
    "ALERTS": OF_EVERY_ALERT,
    # a rule that records is asked for what it groups by
    **{rule["record"]: frozenset(labels_of(rule["expr"])) for rule in RULES if "record" in rule},
}


def test_the_file_is_what_the_code_says() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run `make contract`"


def test_every_question_is_promql(tmp_path: Path) -> None:
    expressions = [re.sub(r"\$__rate_interval", "5m", expression) for expression in ASKED.values()]
    rules = [{"record": f"q{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "questions.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "questions", "rules": rules}]}))
    assert f"{len(ASKED)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize("question", ASKED)
def test_every_metric_and_label_that_is_asked_for_exists(question: str) -> None:
    metrics = metrics_of(ASKED[question])
    assert metrics
    assert metrics <= KNOWN.keys()
    theirs = frozenset[str]().union(*(KNOWN[metric] for metric in metrics))
    assert labels_of(ASKED[question]) <= theirs | OF_EVERY_TARGET


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_legend_names_labels_that_the_answer_has(panel: Panel) -> None:
    for name, expression in panel.asks.items():
        metrics = metrics_of(expression)
        theirs = labels_of(expression).union(*(KNOWN[metric] for metric in metrics if ":" in metric))
        assert set(re.findall(r"{{(\w+)}}", name)) <= theirs


def test_red_is_what_an_alert_calls_too_much() -> None:
    alarms = {
        next(iter(metrics_of(ask))): panel.alarm for panel in PANELS for ask in panel.asks.values() if panel.alarm
    }
    ratios = {metric: alarm for metric, alarm in alarms.items() if "ratio" in metric}
    assert len(ratios) == 2
    for metric, alarm in ratios.items():
        (threshold,) = (found[1] for rule in RULES if (found := re.search(rf"{metric} > ([\d.]+)", rule["expr"])))
        assert float(threshold) == alarm


def test_panels_lie_beside_each_other_and_have_numbers_of_their_own() -> None:
    panels = dashboard.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < dashboard.WIDTH


def test_every_metric_of_the_service_is_shown() -> None:
    asked = {metric for panel in PANELS for expression in panel.asks.values() for metric in metrics_of(expression)}
    # what a rule has recorded is shown too
    shown = asked.union(*(metrics_of(ASKED[metric]) for metric in asked if ":" in metric))
    ours = {name for name in exposed() if name.startswith("order_service_")}
    assert {_without_ending(name) for name in shown} >= {_without_ending(name) for name in ours}


def _without_ending(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_grafana_is_told_of_both_sources_and_of_the_dashboard() -> None:
    sources = yaml.safe_load((OPS / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert {source["type"] for source in sources} == {"prometheus", "jaeger"}
    assert json.loads(dashboard.FILE.read_text())["templating"]["list"][0]["query"] == "prometheus"
