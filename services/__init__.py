"""The services: vad, asr, llm and tts. They know the bus and the contract, not one another."""
