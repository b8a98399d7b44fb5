"""READ and REWRITE ONNX graphs; imports onnx."""
