"""What others make for the same work: each in a process of its own, some with libraries of their own."""
