"""Import of torch modules: from a TARGET to a module, from a module to a program of operators, and to a graph."""
