"""`speech-to-speech check ROLE ADDRESS`: the conformance kit. Drives a service from outside, as a gateway would.

A rule of the contract is a `Rule` (rule.py), declared in `rules/`; `speech-to-speech check --rules` lists them all. The
kit is nothing but a peer on the bus (`peer.py`): what it checks may be written in any language.
"""

from launcher.check.command import main

__all__ = ["main"]
