"""What the gateway counts beyond what every process does."""

from prometheus_client import Counter, Gauge

SESSIONS = Gauge("speech_sessions", "Clients connected.")
SESSIONS_REFUSED = Counter("speech_sessions_refused_total", "Clients refused, by reason.", ["reason"])
RESPONSES = Counter("speech_responses_total", "Answers that ended, by status.", ["status"])
TURNS_FAILED = Counter("speech_turns_failed_total", "Turns whose transcript could not be had.")
