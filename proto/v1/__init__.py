"""Version 1 of the contract; `speech_pb2` is generated from speech.proto."""
