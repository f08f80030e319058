"""What people run: the command line, the client, the twin and the test fixture."""
