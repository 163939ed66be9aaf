"""Chat completions, as OpenAI's servers and those like them speak: requests out, a stream of chunks in. No I/O."""
