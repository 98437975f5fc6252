"""What users connect, and what happened there.

Tokens are kept encrypted. Events never change; they go with their connection or by retention, and a connection that is
not connected takes none but those of connecting, disconnecting and failing.
"""
