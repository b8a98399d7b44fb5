"""CHECK: what is wrong or fragile in a recurrent ONNX file, rule by rule, and its repair."""
