"""The few questions that the dashboard asks, in Prometheus's language, each about one `job`: one installation."""

JOB = 'job="$job"'


def per_second(metric: str, *by: str, where: str = "") -> str:
    """How often something happens, all workers together."""
    return f"sum{_by(by)} (rate({metric}{_where(where)}[$__rate_interval]))"


def lately(metric: str, *by: str) -> str:
    """How often something rare has happened within the last quarter of an hour, all workers together."""
    return f"sum{_by(by)} (increase({metric}{_where()}[15m]))"


def together(metric: str, *by: str) -> str:
    """What every worker has a part of."""
    return f"sum{_by(by)} ({metric}{_where()})"


def stored(metric: str, *by: str) -> str:
    """What the database says, whichever instance was asked."""
    return f"max{_by(by)} ({metric}{_where()})"


def recorded(metric: str) -> str:
    """What `ops/prometheus/rules.yml` has worked out."""
    return f"{metric}{_where()}"


def mean(metric: str, *by: str) -> str:
    """The average of what was observed."""
    return f"{per_second(f'{metric}_sum', *by)} / {per_second(f'{metric}_count', *by)}"


def quantiles(metric: str) -> dict[str, str]:
    """Below which value half of all observations were, and all but a few."""
    return {f"p{percent}": quantile(percent, metric) for percent in (50, 95, 99)}


def quantile(percent: int, metric: str, *by: str) -> str:
    """Below which value so many of a hundred observations were."""
    return f"histogram_quantile({percent / 100}, {per_second(f'{metric}_bucket', 'le', *by)})"


def _by(by: tuple[str, ...]) -> str:
    return f" by ({', '.join(by)})" if by else ""


def _where(more: str = "") -> str:
    return f"{{{JOB}, {more}}}" if more else f"{{{JOB}}}"
