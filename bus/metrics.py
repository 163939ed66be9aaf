"""Counters and gauges that every process of the suite exports. Labels hold no session ids and no speech content."""

from prometheus_client import Counter, Gauge, Histogram

FRAMES_RECEIVED = Counter("speech_frames_received_total", "Frames taken from the inbox.", ["body"])
FRAMES_SENT = Counter("speech_frames_sent_total", "Frames given to a peer.", ["body"])
FRAMES_DROPPED = Counter("speech_frames_dropped_total", "Frames not used, by reason.", ["reason"])
LEASES = Gauge("speech_leases", "Leases held.")
LEASES_REFUSED = Counter("speech_leases_refused_total", "Leases refused, by reason.", ["reason"])
JOBS = Counter("speech_jobs_total", "Leases that ended, by outcome.", ["outcome"])
JOB_SECONDS = Histogram(
    "speech_job_seconds",
    "Life of a lease.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
QUEUE_AGE = Gauge("speech_queue_age_seconds", "Age of the oldest work not begun.")
LOOP_LAG = Gauge("speech_loop_lag_seconds", "How late the event loop ran its last timer.")
READY = Gauge("speech_ready", "1 while the process takes work.")
