"""RUN a model file: engines, devices, sessions and streams; imports numpy and one engine."""
