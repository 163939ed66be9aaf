"""What the faster-whisper engine is made of: the model, the audio cut into windows, and the batches of many turns."""
