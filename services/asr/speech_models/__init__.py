"""What the transformers engine is made of: speech models of two kinds, for the faster-whisper engine's scheduler."""
