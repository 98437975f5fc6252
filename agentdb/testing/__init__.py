"""What tests of agentdb and of its users' programs run on."""
