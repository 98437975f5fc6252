"""A web page that shows every table: to browse, search and filter, and to edit through the repositories.

It needs the extra ``agentdb[studio]``. It reads through the read door, selects only the columns it shows, and changes
nothing unless it is told that it may.
"""
