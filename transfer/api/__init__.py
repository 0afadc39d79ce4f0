"""What a person calls from Python: load an encoder, transfer it, evaluate a trained model. The verbs call the same."""
