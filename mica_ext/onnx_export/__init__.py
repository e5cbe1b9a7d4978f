"""The networks of a model pack as ONNX graphs."""
