"""The VAD service: the audio of many sessions in, their turns out."""
