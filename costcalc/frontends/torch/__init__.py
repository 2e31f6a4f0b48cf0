"""Import of torch modules."""
