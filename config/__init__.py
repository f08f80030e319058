"""The deployment's configuration: YAML files and the schema that checks them."""
