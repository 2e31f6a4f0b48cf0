"""From a graph to its costs: cost tables, conventions, receptive fields, memory."""
