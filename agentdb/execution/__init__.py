"""What is to be done, by whom, and how it went: workflows, their executions, and agents' sessions.

An execution is claimed by one worker under a lease, and another takes it over when the lease has ended. What a node did
is one log row for each attempt.
"""
