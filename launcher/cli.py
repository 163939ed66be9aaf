"""The command `speech-to-speech`: runs the suite, or a command for one that runs.

A command is a module of this package with `main(args) -> int` (the exit status). It is imported only when it is called.
"""

import importlib
import sys
from typing import Final, NoReturn

from launcher.errors import LauncherError

PROG: Final = "speech-to-speech"
# Name -> what it does. The module of the command `x` is `launcher.x`.
COMMANDS: Final = {
    "say": "stream recordings to a running suite, show and save its answers",
    "talk": "talk to a running suite by microphone and loudspeakers",
    "demo": "run the suite, ask it a question by voice, save the answer",
    "services": "list the services of a running suite, with their engines, state and load",
    "drain": "have one of them finish its work and end, while conversations go on",
    "load": "load a service, the gateway or the whole suite; say how it went",
    "keys": "make the keys that encrypt the bus between hosts",
    "check": "check a running service, of any language, against the rules of the protocol",
}


def main() -> NoReturn:
    """Run what the command line says. Exit status: 2 if a flag, a file or the suite cannot work."""
    args = sys.argv[1:]
    try:
        if args and args[0] in COMMANDS:
            sys.exit(importlib.import_module(f"launcher.{args[0]}").main(args[1:]))
        sys.exit(importlib.import_module("launcher.suite").main(args))
    except LauncherError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"{PROG}: {line}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `speech-to-speech ... | head`
        sys.stdout = None
        sys.exit(141)


if __name__ == "__main__":
    main()
