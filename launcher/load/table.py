"""What a load run found, as lines for a terminal. No I/O."""

from typing import Final

from launcher.load.clock import LAG
from launcher.load.report import Report, Step, in_order

# Times in the order in which they are shown, and what they are called; others follow as they are called.
TIMES: Final = {
    "latency": "latency",
    "to_last": "to the last output",
    "end_to_stopped": "last sound to stop",
    "onset_to_started": "first sound to start",
    "first_partial": "first partial",
    "voice_to_voice": "voice to voice",
    "silence_after_barge_in": "silence after barge-in",
    "between_pieces": "between pieces",
    "stutter": "late pieces, by",
}
LATENCY: Final = {
    "vad": "from the chunk with the sample at which the vad says it knew, to speech_stopped",
    "asr": "from the last piece of the turn to its transcript",
    "llm": "from the request to the first piece of the answer",
    "tts": "from the request to the first audio",
    "gateway": "from the chunk that completes the silence to the first audio of the answer: own latency",
    "e2e": "from the chunk that completes the silence to the first audio of the answer, engines included",
}
STAGE: Final = "stage: "
# Counts that other lines tell.
_TOLD: Final = {"turns", "answered", "turns_refused", "chunks", "late_chunks", "refused", "opened", "barge_ins"}


def lines(report: Report) -> list[str]:
    """Return the whole report."""
    shown = [report.machine, f"{report.role}: {report.what}", f"  load  {report.load}"]
    if report.profile:
        shown.append(f"  acting {report.profile}")
    if report.cold_start_s is not None:
        shown.append(f"  cold start to ready {report.cold_start_s:.1f} s")
    shown.append(f"  latency counts {LATENCY['e2e' if report.profile and report.role == 'gateway' else report.role]}")
    for step in report.steps:
        shown += ["", *_step(step)]
    shown += ["", f"objective: {report.objective}"]
    if report.knee is not None:
        shown.append(f"knee: {report.knee} sessions ({report.knee_why})")
    elif any(step.void for step in report.steps):
        shown.append("VOID: the run counts for nothing")
    else:
        missed = report.steps[-1].missed if report.steps else []
        shown.append(f"missed: {'; '.join(missed)}" if missed else "met")
    return shown


def _step(step: Step) -> list[str]:
    shown = [f"{step.sessions} sessions for {step.seconds:g} s"]
    refused = f", {step.counts['turns_refused']} refused" if step.counts.get("turns_refused") else ""
    shown.append(
        f"  turns     {step.turns} asked, {step.counts.get('answered', 0)} answered, {step.lost} lost{refused}"
    )
    shown += _times(step)
    shown += _quality(step)
    shown += _processes(step)
    for part, metrics in step.told.items():
        for name, told in metrics.items():
            bound = f"p95 at most {told.p95_at_most:g}" if told.p95_at_most >= 0 else "p95 beyond the last bucket"
            shown.append(f"  {part} says  {name}: mean {told.mean:.3g}, {bound} (n {told.n:g})")
    for event, times in step.logged.items():
        shown.append(f"  logged    {event}: {times}")
    for reason, times in step.errors.items():
        shown.append(f"  error     {reason}: {times}")
    for promise, times in step.broken.items():
        shown.append(f"  BROKEN    {promise}: {times}")
    shown += [f"            {example}" for example in step.examples]
    if step.void:
        shown.append(f"  VOID      {step.void}")
    return shown


def _times(step: Step) -> list[str]:
    stages = sorted(
        (name for name in step.times if name.startswith(STAGE)), key=lambda name: in_order(name.removeprefix(STAGE))
    )
    others = [name for name in step.times if name not in TIMES and name not in (*stages, LAG, "rtf", "audio")]
    shown = [f"  {'ms':24}{'p50':>8}{'p90':>8}{'p95':>8}{'p99':>8}{'most':>9}{'n':>8}"]
    for name in (*(name for name in TIMES if name in step.times), *others, *stages, LAG):
        if name in step.times:
            spread = step.times[name]
            places = (spread.p50, spread.p90, spread.p95, spread.p99)
            called = TIMES.get(name, name.replace("_", " ").replace("stage: ", "  "))
            shown.append(f"  {called:24}{''.join(f'{p:8.1f}' for p in places)}{spread.most:9.1f}{spread.n:8}")
    return shown


def _quality(step: Step) -> list[str]:
    shown = []
    if chunks := step.counts.get("chunks"):
        shown.append(f"  glitches  {1 - step.stutters:.3%} of {chunks} pieces came before they had to sound")
    if "rtf" in step.times:
        spread = step.times["rtf"]
        shown.append(f"  rtf       p50 {spread.p50:.3f}, p95 {spread.p95:.3f} (seconds for a second of audio)")
    if step.counts.get("refused"):
        recovery = f"{step.recovery_s:.1f} s after the load" if step.recovery_s is not None else "not seen"
        shown.append(f"  refused   {step.refused:.1%} of {step.counts['opened']}; a newcomer was let in {recovery}")
    if step.most_queue_age_ms is not None:
        shown.append(f"  queue     oldest work not begun: {step.most_queue_age_ms:g} ms at most")
    more = {name: count for name, count in step.counts.items() if name not in _TOLD}
    if step.counts.get("barge_ins"):
        more = {"barge_ins": step.counts["barge_ins"], **more}
    if more:
        shown.append("  counted   " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in more.items()))
    return shown


def _processes(step: Step) -> list[str]:
    shown = []
    for name, used in step.processes.items():
        shown.append(
            f"  {name:9} {used.cpu_ms_per_session_s:7.2f} ms CPU per session-second, {used.cores:5.2f} cores, "
            f"{used.memory_mb:6.0f} MB, {used.memory_kb_per_session:6.0f} kB per session"
        )
    if step.cores > 0:
        shown.append(f"  sessions per core: {step.sessions / step.cores:.0f} (sessions over the cores kept busy)")
    shown.append(f"  generator {step.generator_cores:5.2f} cores")
    return shown
