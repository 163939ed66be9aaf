"""What can go wrong on the bus.

BusError
 ├── ConfigurationError        a setting cannot work; the message names the remedy (exit status 2)
 ├── MalformedFrameError       bytes that are not a frame
 ├── JobError                  the work of one lease failed; answered with an Error frame
 │    ├── InvalidRequestError  understood and impossible
 │    ├── EngineError          the engine failed
 │    ├── DeadlineError        the request's time is over
 │    ├── OverloadedError      a bounded queue is full
 │    └── LeaseExpiredError    nothing renewed the lease
 └── AtCapacityError           no place is free; answered with a Refusal
"""

from typing import ClassVar

from proto.v1 import speech_pb2 as pb


class BusError(Exception):
    """Any error of this package."""


class ConfigurationError(BusError):
    """A setting cannot work. The message is one line for the person who started the process."""


class MalformedFrameError(BusError):
    """Bytes that are not a frame, or a frame that nobody can use."""

    def __init__(self, message: str, header: pb.Header | None = None) -> None:
        super().__init__(message)
        self.header = header


class JobError(BusError):
    """The work of one lease failed. The message goes to the gateway and holds no speech content."""

    code: ClassVar[pb.Error.Code.ValueType] = pb.Error.ENGINE_FAILED
    retryable: ClassVar[bool] = True


class InvalidRequestError(JobError):
    """The request was understood and is impossible, here and on any replica like this one."""

    code = pb.Error.INVALID_REQUEST
    retryable = False


class EngineError(JobError):
    """The engine failed."""


class DeadlineError(JobError):
    """The request's time is over."""

    code = pb.Error.DEADLINE_EXCEEDED


class OverloadedError(JobError):
    """A bounded queue is full."""

    code = pb.Error.OVERLOADED


class LeaseExpiredError(JobError):
    """Neither traffic nor a renewal came within the lease's time to live."""

    code = pb.Error.LEASE_EXPIRED


class AtCapacityError(BusError):
    """No place is free."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"at capacity, retry after {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms
