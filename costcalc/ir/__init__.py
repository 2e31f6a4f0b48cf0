"""The intermediate representation: ops, and graphs of layers."""
