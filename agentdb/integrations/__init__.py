"""agentdb inside web frameworks, in each one's own idiom; import the one you use.

A Database opens when the application starts and closes when it ends, a unit lives as long as one request's work, and
errors leave as problem documents.
"""
