"""What is remembered of a conversation."""

from gateway.core.conversation import KEPT, Conversation, Message


def test_messages_are_kept_in_order() -> None:
    conversation = Conversation()
    conversation.user_said("hello")
    conversation.assistant_said("good day")
    assert conversation.messages == (Message("user", "hello"), Message("assistant", "good day"))


def test_an_answer_of_which_nothing_was_heard_is_not_remembered() -> None:
    conversation = Conversation()
    conversation.user_said("hello")
    conversation.assistant_said(" \n")
    assert conversation.messages == (Message("user", "hello"),)


def test_a_message_of_the_user_can_be_taken_back() -> None:
    conversation = Conversation()
    conversation.user_said("hello")
    conversation.assistant_said("good day")
    conversation.user_said("what is")
    assert conversation.take_back_user() == "what is"
    assert conversation.messages == (Message("user", "hello"), Message("assistant", "good day"))


def test_what_was_answered_cannot_be_taken_back() -> None:
    conversation = Conversation()
    assert conversation.take_back_user() == ""
    conversation.user_said("hello")
    conversation.assistant_said("good day")
    assert conversation.take_back_user() == ""
    assert len(conversation.messages) == 2


def test_the_oldest_messages_go_first() -> None:
    conversation = Conversation()
    for number in range(KEPT + 10):
        conversation.user_said(str(number))
    assert len(conversation.messages) == KEPT
    assert conversation.messages[0].text == "10"
