"""PORT a PyTorch module to a model file: lowering, packed sequences, state lifting."""
