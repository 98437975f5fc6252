"""The files of attachments: how they come in, where they lie, how they go out, and how they are cleared away."""
