"""What the gateway counts beyond what every process does."""

from prometheus_client import Counter, Gauge

SESSIONS = Gauge("speech_sessions", "Clients connected.")
SESSIONS_REFUSED = Counter("speech_sessions_refused_total", "Clients refused, by reason.", ["reason"])
RESPONSES = Counter("speech_responses_total", "Answers that ended, by status.", ["status"])
TURNS_FAILED = Counter("speech_turns_failed_total", "Turns whose transcript could not be had.")
TURNS_AGAIN = Counter("speech_turns_again_total", "Turns that were sent to a recogniser again, whole.")
ANSWERS_AGAIN = Counter("speech_answers_again_total", "Answers asked for again, by the role that failed.", ["role"])
VADS_AGAIN = Counter("speech_vads_again_total", "Sessions that went on at a vad after they had lost or left one.")
