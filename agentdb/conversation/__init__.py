"""What was said: conversations, their messages, and the resources attached to them.

A message's position comes from the update of its conversation's own row: an order without gaps, whoever writes. A
deleted conversation is not shown, nor is anything that belongs to it, until it is restored or purged.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.conversation.conversations import Conversations
from agentdb.conversation.messages import Messages
from agentdb.conversation.resources import Resources
from agentdb.repository import Aggregate


class ConversationRepositories(Aggregate):
    """The repositories of what was said."""

    @cached_property
    def conversations(self) -> Conversations:
        """A user's exchanges with agents."""
        return Conversations(self.connection, most=self.most)

    @cached_property
    def messages(self) -> Messages:
        """What was said in them."""
        return Messages(self.connection, most=self.most)

    @cached_property
    def resources(self) -> Resources:
        """What is attached to them."""
        return Resources(self.connection, most=self.most)
