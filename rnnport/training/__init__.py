"""TRAIN: data to checkpoint, with recipes, tasks and models; imports torch and Lightning."""
