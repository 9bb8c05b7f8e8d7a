"""Plain functions, tensors in, scalar out, for any number of spatial axes after the channel."""
