"""Raw pcm as it comes over sockets: any chunk size, also odd ones."""

from typing import Final

# Stock TCP clients read their answers in blocks of this size and play nothing of a block that is not full.
CLIENT_BLOCK_BYTES: Final = 2048


class SampleAligner:
    """Holds back the odd byte of a chunk until its other half comes."""

    def __init__(self) -> None:
        self._odd = b""

    def push(self, data: bytes) -> bytes:
        """Return all whole 16-bit samples so far."""
        if not self._odd and not len(data) % 2:
            return data
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        return data[:whole]


class BlockPadder:
    """Fills the end of an answer with silence, so that its last samples are played now and not with the next answer."""

    def __init__(self) -> None:
        self._sent = 0  # since the connection began: blocks do not begin anew with an answer

    def sent(self, pcm: bytes) -> None:
        """Count what is sent of the answer."""
        self._sent += len(pcm)

    def dropped(self, length: int) -> None:
        """Take back bytes that were counted, and were not sent after all."""
        self._sent -= length

    def padding(self) -> bytes:
        """Return the silence that completes the last block, and count it as sent."""
        silence = bytes(-self._sent % CLIENT_BLOCK_BYTES)
        self._sent += len(silence)
        return silence
