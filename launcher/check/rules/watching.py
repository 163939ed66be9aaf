"""Health and metrics: what orchestration and dashboards read, at the URL that the service announces."""

import asyncio
import urllib.request
from typing import Final
from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

from bus import health
from launcher.check.rule import ALL, BrokenRuleError, Rule, rule
from launcher.check.rules.announcing import is_http
from launcher.check.subject import Subject

ANSWER_S: Final = 3.0
# What dashboards are made of. Counters are named as Prometheus' text shows them.
METRICS: Final = (
    "speech_frames_received_total",
    "speech_frames_sent_total",
    "speech_frames_dropped_total",
    "speech_leases",
    "speech_leases_refused_total",
    "speech_jobs_total",
    "speech_queue_age_seconds",
    "speech_ready",
)


@rule(*ALL, says="health_url serves /health/live and /health/ready: 200 while the service lives, and takes work.")
async def answers_health_checks(subject: Subject) -> str:
    """Ask both."""
    url = _url(subject)
    for path in ("/health/live", "/health/ready"):
        if problem := await asyncio.to_thread(health.check, url + path, ANSWER_S):
            raise BrokenRuleError(f"{path}: {problem}")
    return url


@rule(*ALL, says="/metrics are Prometheus text with the suite's names (speech_leases, speech_jobs_total, ...).")
async def has_the_metrics(subject: Subject) -> str:
    """Read the names."""
    text = await asyncio.to_thread(_read, _url(subject) + "/metrics")
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise BrokenRuleError(f"/metrics is no Prometheus text: {error}") from error
    # A counter's family is named without its _total, and one with labels has no sample until it counted.
    names = {name for family in families for name in (family.name, f"{family.name}_total")}
    missing = [name for name in METRICS if name not in names]
    if missing:
        raise BrokenRuleError(f"/metrics lacks {', '.join(missing)}")
    return f"{len(METRICS)} names, {len(families)} in all"


def _url(subject: Subject) -> str:
    url = subject.announcement.health_url.rstrip("/")
    if not is_http(url):
        raise BrokenRuleError(f"health_url {url!r} is no http address")
    return url


def _read(url: str) -> str:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=ANSWER_S) as response:
            return str(response.read().decode())
    except (URLError, OSError, ValueError) as error:
        raise BrokenRuleError(f"no answer from {url}: {error}") from error


RULES: Final[tuple[Rule, ...]] = (answers_health_checks, has_the_metrics)
