"""What the project costs and how fast it is, measured: `python -m benchmarks [NAME ...]`.

Every benchmark states what it measures against and in one run: a machine that is busy slows both
sides. Nothing here is a test: a slow minute fails nobody's change.
"""
