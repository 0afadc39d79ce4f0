"""What a checkpoint holds besides an encoder's tensors: wrappers, facts, the stage of training."""
