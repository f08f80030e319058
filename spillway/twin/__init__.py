"""The deployed stacks on one machine: generic AWS, no product logic."""
