"""What the device, the server and the experiments share."""

__version__ = "0.1.0"
