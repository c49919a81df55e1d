"""How a training step runs: the plan of a model's steps, the shards of a batch, and the threads that work on them."""
