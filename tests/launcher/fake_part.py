"""A process that behaves like one of the suite's, or misbehaves as its first argument says. Needs only the library."""

import http.server
import os
import signal
import subprocess
import sys
import threading


class Ready(http.server.BaseHTTPRequestHandler):
    """Says on /health/ready what the class is told."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"loading" if self.status != 200 else b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    behaviour, *flags = sys.argv[1:]
    print(f"pid={os.getpid()} {' '.join(flags)}", flush=True)
    if behaviour == "refuse":
        print("services.vad: --engine foo is bad; pip install nothing", flush=True)
        sys.exit(2)
    if behaviour == "crash":
        sys.exit(3)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if behaviour == "parent":
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"worker={worker.pid}", flush=True)
    port = next(int(flag.partition("=")[2]) for flag in flags if flag.startswith("--health_port="))
    handler = type("Handler", (Ready,), {"status": 503 if behaviour == "never" else 200})
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        sys.exit(2)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.pause()
    threading.Event().wait()  # a signal that is ignored or handled ends the pause


if __name__ == "__main__":
    main()
