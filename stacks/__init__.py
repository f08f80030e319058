"""CDK stacks: what a deployment consists of, and nothing about how it is run."""
