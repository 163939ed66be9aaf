"""The TTS service: the answer's text in, speech out, clause by clause."""
