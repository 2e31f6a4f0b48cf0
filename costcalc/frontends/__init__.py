"""Front ends: code that builds a graph from a spec, a torch module or an ONNX file, and the reader of TARGETs."""
