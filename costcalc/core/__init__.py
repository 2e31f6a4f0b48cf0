"""Values that everything else is made of: sizes, names of dimensions, dtypes, errors. Imports nothing of costcalc."""
