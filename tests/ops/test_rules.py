"""The rules, by Prometheus's own checker."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from typer.testing import CliRunner

from handlers.cli.__main__ import app as cli
from models.states import Command
from tests.ops.alerts import CASES, Case, both, one
from tests.ops.programs import OPS, promtool

RULES = OPS / "prometheus" / "rules.yml"
(GROUP,) = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, Any] = {rule["alert"]: rule for rule in GROUP["rules"] if "alert" in rule}
RECORDED: list[str] = [rule["record"] for rule in GROUP["rules"] if "record" in rule]

STEPS = {"step": "ReserveInventory"}
ENDED = (
    one("a", "sagas_finished_total", "0+4x20", status="Completed")
    | one("b", "sagas_finished_total", "0+2x20", status="Completed")
    | both("sagas_finished_total", "0+1x20", status="Failed")
    | both("sagas_finished_total", "0+1x20", status="Compensated")
)
VALUES = [
    ("job:order_service_saga_completion:ratio_rate15m", ENDED, {}, 0.6),
    (
        "job:order_service_saga_duration_seconds:mean15m",
        one("a", "saga_duration_seconds_sum", "0+8x20", status="Completed")
        | one("a", "saga_duration_seconds_count", "0+2x20", status="Completed")
        | one("b", "saga_duration_seconds_sum", "0+7x20", status="Failed")
        | one("b", "saga_duration_seconds_count", "0+4x20", status="Failed"),
        {},
        2.5,
    ),
    (
        "job:order_service_compensation:ratio_rate15m",
        ENDED | both("compensations_started_total", "0+1x20"),
        {},
        0.2,
    ),
    (
        "job_step:order_service_step_failure:ratio_rate15m",
        one("a", "steps_total", "0+5x20", **STEPS, outcome="Completed")
        | one("b", "steps_total", "0+1x20", **STEPS, outcome="Resolved")
        | one("a", "steps_total", "0+1x20", **STEPS, outcome="Failed")
        | one("b", "steps_total", "0+1x20", **STEPS, outcome="TimedOut"),
        STEPS,
        0.25,
    ),
    (
        "job_step:order_service_step_timeouts:increase15m",
        both("step_timeouts_total", "0+1x20", **STEPS),
        STEPS,
        30,
    ),
]


def judge(folder: Path, given: dict[str, str], expected: dict[str, Any]) -> None:
    """Let promtool see whether the rules make of these series what is expected."""
    there = {} if any(name.startswith("up{") for name in given) else both("up", "1x60")
    series = [{"series": name, "values": values} for name, values in (given | there).items()]
    file = folder / "rules_test.yml"
    tests = [{"interval": "1m", "input_series": series} | expected]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    promtool("test", "rules", file)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.why}")
def test_an_alert_fires_in_time_and_not_before_and_ends(case: Case, tmp_path: Path) -> None:
    rule = ALERTS[case.alert]
    labels = case.labels | rule["labels"]
    firing = [
        {
            "eval_time": f"{minute}m",
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "exp_samples": [{"labels": f'{{alertname="{case.alert}"}}', "value": 1}] if minute in case.fires else [],
        }
        for minute in (*case.quiet, *case.fires)
    ]
    description = re.sub(r"{{ \$labels\.(\w+) }}", lambda name: labels[name[1]], rule["annotations"]["description"])
    said = {
        "alertname": case.alert,
        "eval_time": f"{case.fires[-1]}m",
        "exp_alerts": [
            {"exp_labels": labels, "exp_annotations": {"summary": case.summary, "description": description}}
        ],
    }
    judge(tmp_path, case.given, {"promql_expr_test": firing, "alert_rule_test": [said]})


@pytest.mark.parametrize(("name", "given", "labels", "value"), VALUES, ids=lambda value: str(value)[:50])
def test_a_recorded_value_is_exact(
    name: str, given: dict[str, str], labels: dict[str, str], value: float, tmp_path: Path
) -> None:
    shown = ", ".join(f'{label}="{word}"' for label, word in ({"job": "order-service"} | labels).items())
    expected = {"expr": name, "eval_time": "20m", "exp_samples": [{"labels": f"{name}{{{shown}}}", "value": value}]}
    judge(tmp_path, given, {"promql_expr_test": [expected]})


@pytest.mark.parametrize("name", [name for name in RECORDED if "ratio" in name or "mean" in name])
def test_of_nothing_there_is_no_ratio(name: str, tmp_path: Path) -> None:
    given = next(given for recorded, given, _, _ in VALUES if recorded == name)
    at_rest = dict.fromkeys(given, "7x20")
    judge(tmp_path, at_rest, {"promql_expr_test": [{"expr": name, "eval_time": "20m", "exp_samples": []}]})


def test_every_rule_is_tried() -> None:
    assert {case.alert for case in CASES} == ALERTS.keys()
    assert {name for name, *_ in VALUES} == set(RECORDED)


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", RULES)
    # the key that it shows is not here
    promtool("check", "config", "--syntax-only", RULES.with_name("prometheus.yml"))


@pytest.mark.parametrize("alert", ALERTS)
def test_what_an_alert_tells_a_person_to_enter_is_a_command(alert: str) -> None:
    placeholders = {"ORDER_ID": str(uuid4()), "ID": str(uuid4()), "STEP": Command.PROCESS_PAYMENT, "WHY": "said so"}
    placeholders |= {"succeeded|failed": "succeeded", "{{ $labels.reason }}": "invalid"}
    description = " ".join(ALERTS[alert]["annotations"]["description"].split())
    for told in re.findall(r"`python -m handlers\.cli (.+?)`", description):
        words = re.findall(r"{{.+?}}|\S+", told)
        done = CliRunner().invoke(cli, [*(placeholders.get(word, word) for word in words), "--help"])
        assert done.exit_code == 0, f"{told}: {done.output}"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is(alert: str) -> None:
    assert ALERTS[alert]["labels"]["severity"] in ("critical", "warning")


def test_the_commands_of_the_saga_are_those_that_must_have_a_listener() -> None:
    keys = re.search(r'key=~"(.+)"', ALERTS["OrderServiceCommandUnroutable"]["expr"])
    assert keys
    named = re.fullmatch(r"domain\[\.\]order\[\.\]\((.+)\)", keys[1])
    assert named
    assert set(named[1].split("|")) == set(Command)
