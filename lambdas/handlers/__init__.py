"""One thin handler per function: read, decide, log the decision, act."""
