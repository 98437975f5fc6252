"""The same work by agentdb, by bare drivers and by its peers, side by side in one run."""
