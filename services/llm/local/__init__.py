"""What the transformers engine is made of: prompt, decoding of many answers in one batch, tokens back to words."""
