"""Simulated deployments under random faults: one seed, one history, and what must hold in it."""
