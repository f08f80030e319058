"""What runs in AWS: one asset for every function. Imports neither `stacks` nor `spillway`."""
