"""Takes issues from a queue to reviewed, merged code with the cheapest model that gets each piece right."""

__version__ = "0.1.0"
