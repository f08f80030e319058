"""Decisions as pure functions: no clock, no environment, no AWS."""
