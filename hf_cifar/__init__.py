"""Image classification on CIFAR-10 with transformers, datasets, accelerate and evaluate, done properly."""

__version__ = "0.1.0"
