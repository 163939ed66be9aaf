"""`speech-to-speech load`: load a service, the gateway or the whole suite; say what it took, and what it did."""


def main(args: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    from launcher.load.command import main as run

    return run(args)
