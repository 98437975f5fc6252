"""Every method of every repository, as one user calls it: with what is their own, and with what is another's."""
