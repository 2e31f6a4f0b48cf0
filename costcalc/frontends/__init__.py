"""Everything that builds a graph: specs, torch modules, ONNX files, and what a TARGET means."""
