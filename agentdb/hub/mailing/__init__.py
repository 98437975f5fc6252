"""What mail and chat are made of: how a message is sent, listed, shown to one user, and marked as read or put away."""
