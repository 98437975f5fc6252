"""One user's scope: every statement is rewritten so that it sees, and changes, only what is that user's or everybody's.

Nothing in a repository has to remember it. The compiler that renders a statement comes by every table rows are read
from, however deep, and every change; it renders them scoped (`compiling`). What a row's owner is comes from the paths
that the models declare (`conditions`). What has to look beyond says so (`beyond`).
"""
