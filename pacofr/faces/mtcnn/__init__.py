"""The MTCNN detector: network, and weights read from the `mtcnn` package."""
