"""The Grafana dashboard, as code: `python -m ops.dashboard`, part of `make contract`, writes it down for Grafana."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.panels import ROWS, Panel

FILE = Path(__file__).parent / "grafana" / "order-service.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
JOBS = "label_values(order_service_sagas_started_total, job)"
WIDTH, HEIGHTS = 24, {"row": 1, "stat": 4, "table": 5, "timeseries": 8}
"""In the squares of Grafana's grid."""
ONE_FOR_ALL = ("Time", "Value", "__name__", "alertstate", "job")
"""What the table of alerts need not show of each."""

LOOKS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "defaults": {
            "color": {"mode": "palette-classic"},
            "custom": {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"},
        },
        "target": {},
        "panel": {
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        },
    },
    "stat": {
        "defaults": {"color": {"mode": "thresholds"}, "noValue": "none yet"},
        "target": {},
        "panel": {
            "options": {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value",
                "graphMode": "area",
            }
        },
    },
    "table": {
        "defaults": {"noValue": "nothing"},
        "target": {"format": "table", "instant": True},
        "panel": {
            "options": {"showHeader": True},
            "transformations": [{"id": "organize", "options": {"excludeByName": dict.fromkeys(ONE_FOR_ALL, True)}}],
        },
    },
}
"""What Grafana is told about each kind of panel."""


def dashboard() -> dict[str, Any]:
    """All of it."""
    return {
        "uid": "order-service",
        "title": "Order service",
        "description": "Sagas, steps, messages, and what needs a person. Made by ops/dashboard.py.",
        "tags": ["order-service"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "templating": {"list": [_choice_of_source(), _choice_of_job()]},
        "panels": list(_placed()),
    }


def text() -> str:
    """The content of the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


def _choice_of_source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice_of_job() -> dict[str, Any]:
    query = {"query": JOBS, "refId": "jobs"}
    choice = {"name": "job", "label": "Installation", "type": "query", "query": query, "refresh": 2, "sort": 1}
    return choice | {"datasource": SOURCE}


def _placed() -> Iterator[dict[str, Any]]:
    """Rows and panels, numbered, from left to right and down."""
    number = top = 0
    for title, panels in ROWS.items():
        number += 1
        heading = {"type": "row", "title": title, "collapsed": False, "panels": []}
        yield {"id": number} | heading | _at(0, top, WIDTH, "row")
        top, left, height = top + HEIGHTS["row"], 0, 0
        for panel in panels:
            if left + panel.width > WIDTH:
                top, left, height = top + height, 0, 0
            number += 1
            yield {"id": number} | _panel(panel) | _at(left, top, panel.width, panel.kind)
            left, height = left + panel.width, max(height, HEIGHTS[panel.kind])
        top += height


def _at(left: int, top: int, width: int, kind: str) -> dict[str, Any]:
    return {"gridPos": {"x": left, "y": top, "w": width, "h": HEIGHTS[kind]}}


def _panel(panel: Panel) -> dict[str, Any]:
    look = LOOKS[panel.kind]
    colours: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarm is not None:
        colours.append({"color": "red", "value": panel.alarm})
    defaults = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": colours}}
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": name} | look["target"]
        for index, (name, expression) in enumerate(panel.asks.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults | look["defaults"], "overrides": []},
        "targets": targets,
        **look["panel"],
    }


if __name__ == "__main__":
    FILE.write_text(text())
