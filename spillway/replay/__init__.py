"""Recorded traffic against a deployment: who asks what where, and how long everybody waited."""
