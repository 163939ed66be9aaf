"""What can go wrong in the conversation.

CoreError
 └── IllegalTransitionError   a state machine was given an event that its table does not know
"""


class CoreError(Exception):
    """Any error of this package."""


class IllegalTransitionError(CoreError):
    """The table has no row for this event in this state: a bug of the caller. Nothing was changed."""
