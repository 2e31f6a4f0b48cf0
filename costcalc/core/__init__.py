"""Basic values: sizes, names of dimensions, units, dtypes and errors. Imports no other package of costcalc."""
